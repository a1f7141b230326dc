"""Whether a process traces: only where the settings name a collector is anything imported for it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from om_server.rest import tracing as rest
from om_server.rpc.tracing import Tracer, Untraced
from om_server.settings import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import TracerProvider

    from om_server.settings import Settings


@contextlib.contextmanager
def tracing(settings: Settings, service: str) -> Iterator[Tracer]:
    """Send spans to the collector that the settings name; SettingsInvalid where the extra is missing."""
    with _exporting(settings, service) as provider:
        if provider is None:
            yield Untraced()
            return
        from om_server.otel import OtelTracer  # noqa: PLC0415 - as below

        yield OtelTracer(provider)


@contextlib.contextmanager
def request_tracing(settings: Settings) -> Iterator[rest.RequestTracer]:
    """As `tracing`, for the requests of REST."""
    with _exporting(settings, "rest") as provider:
        if provider is None:
            yield rest.Untraced()
            return
        from om_server.otel import OtelRequestTracer  # noqa: PLC0415 - as below

        yield OtelRequestTracer(provider)


@contextlib.contextmanager
def _exporting(settings: Settings, service: str) -> Iterator[TracerProvider | None]:
    if not settings.otlp_endpoint:
        yield None
        return
    try:
        from om_server.otel import exporting_provider  # noqa: PLC0415 - an extra, and slow to load
    except ImportError:
        raise SettingsInvalid("OM_OTLP_ENDPOINT: needs the extra openmonetize[tracing]") from None
    provider = exporting_provider(settings.otlp_endpoint, service=service, ratio=settings.trace_ratio)
    try:
        yield provider
    finally:
        provider.shutdown()
