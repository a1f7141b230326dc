"""A small real HTTP server with fixed pages, and where a gRPC server of a test listens."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Page:
    """What is answered at a path."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def address_of(channel: grpc.Channel) -> str:
    """host:port that a blocking channel reaches; gRPC's types leave its target out."""
    target: bytes = channel._channel.target()  # type: ignore[attr-defined]  # As said.
    return target.decode().removeprefix("dns:///")


@contextlib.contextmanager
def served(pages: Mapping[str, Page]) -> Iterator[str]:
    """Serve the pages, 404 elsewhere; gives host:port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0], Page(404))
            self.send_response(page.status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            self.wfile.write(page.body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
