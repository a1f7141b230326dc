"""Where Prometheus reads a process: an address of its own, because the figures are of every tenant."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from om_server.failure import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.registry import Collector

PORT_VARIABLE = "OM_METRICS_PORT"


def registry_of(*collectors: Collector) -> CollectorRegistry:
    """Make the registry of a process: what it counts, and what the system knows of it."""
    # Never the library's own, which every import could write to.
    registry = CollectorRegistry(auto_describe=True)
    for collector in collectors:
        registry.register(collector)
    ProcessCollector(registry=registry)
    return registry


@contextlib.contextmanager
def exposed(registry: CollectorRegistry, *, host: str, port: int) -> Iterator[None]:
    """Answer `/metrics` on a thread for the block; port 0 is nowhere. CommandFailed where it is taken."""
    if not port:
        yield
        return
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise CommandFailed(f"cannot listen on {host}:{port}; set {PORT_VARIABLE} to a free port") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
