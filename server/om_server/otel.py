"""Traces through OpenTelemetry. Imported only where traces are sent somewhere, because it is an extra."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.status import StatusCode

from om_server.rpc.tracing import TRACE_PARENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.trace import Span

_NANOS_PER_MICRO = 1_000


def exporting_provider(endpoint: str, *, service: str, ratio: float = 1) -> TracerProvider:
    """Make what sends spans to a collector, in the background; `ratio` of the traces that begin here."""
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"openmonetize-{service}"}),
        sampler=ParentBased(TraceIdRatioBased(ratio)),
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    return provider


class OtelTracer:
    """Makes spans of traces that began elsewhere and are kept. Attributes are ids and names of our lists."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("openmonetize.server")
        self._propagator = TraceContextTextMapPropagator()

    @contextlib.contextmanager
    def span(self, name: str, trace_parent: str, *, attributes: Mapping[str, str]) -> Iterator[str]:
        """Trace a block."""
        context = self._context(trace_parent)
        if context is None:
            yield ""
            return
        span = self._tracer.start_span(name, context, kind=SpanKind.SERVER, attributes=attributes)
        try:
            yield _parent_of(span)
        except BaseException as error:
            # Its kind alone: the text of an error may hold anything.
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            span.end()

    def since(self, name: str, trace_parent: str, *, start_us: int, attributes: Mapping[str, str]) -> None:
        """Trace what ends now."""
        context = self._context(trace_parent)
        if context is not None:
            self._tracer.start_span(
                name,
                context,
                kind=SpanKind.CONSUMER,
                attributes=attributes,
                start_time=start_us * _NANOS_PER_MICRO,
            ).end()

    def _context(self, trace_parent: str) -> Context | None:
        """Read whose part it is; None where that cannot be read, or nobody keeps it."""
        if not trace_parent:
            return None
        context = self._propagator.extract({TRACE_PARENT: trace_parent}, Context())
        kept = get_current_span(context).get_span_context().trace_flags.sampled
        return context if kept else None


class OtelRequestTracer:
    """Makes the spans of requests, in the traces that their callers name or in traces of their own."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("openmonetize.rest")
        self._propagator = TraceContextTextMapPropagator()

    @contextlib.contextmanager
    def request(self, trace_parent: str, *, request_id: str) -> Iterator[_RequestSpan]:
        """Trace a block; what cannot be read as a trace of the caller's is none."""
        context = self._propagator.extract({TRACE_PARENT: trace_parent}, Context())
        attributes = {"om.request_id": request_id}
        span = self._tracer.start_span("rest request", context, kind=SpanKind.SERVER, attributes=attributes)
        try:
            yield _RequestSpan(span)
        except BaseException as error:
            # Its kind alone, as above.
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            span.end()


class _RequestSpan:
    """A span as REST sees it."""

    def __init__(self, span: Span) -> None:
        self._span = span
        kept = span.get_span_context().trace_flags.sampled
        self.trace_parent = _parent_of(span) if kept else ""

    def note(self, name: str, value: str | int) -> None:
        """Set an attribute."""
        self._span.set_attribute(name, value)


def _parent_of(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
