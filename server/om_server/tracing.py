"""Whether a process traces: only where the settings name a collector is anything imported for it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from om_server.rpc.tracing import Tracer, Untraced
from om_server.settings import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from om_server.settings import Settings


@contextlib.contextmanager
def tracing(settings: Settings, service: str) -> Iterator[Tracer]:
    """Send spans to the collector that the settings name; SettingsInvalid where the extra is missing."""
    if not settings.otlp_endpoint:
        yield Untraced()
        return
    try:
        from om_server.otel import OtelTracer, exporting_provider  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        raise SettingsInvalid("OM_OTLP_ENDPOINT: needs the extra openmonetize[tracing]") from None
    provider = exporting_provider(settings.otlp_endpoint, service=service)
    try:
        yield OtelTracer(provider)
    finally:
        provider.shutdown()
