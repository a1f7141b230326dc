"""Traces through OpenTelemetry. Imported only where traces are sent somewhere, because it is an extra."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.status import StatusCode

from om_proxy.tracing import TRACE_PARENT, CallContext, calling

_SERVICE = "openmonetize-proxy"
_UPSTREAM = "upstream"


def exporting_provider(endpoint: str, *, ratio: float) -> TracerProvider:
    """Make what sends spans to a collector, in the background; `ratio` of the traces that begin here."""
    provider = TracerProvider(
        resource=Resource.create({"service.name": _SERVICE}), sampler=ParentBased(TraceIdRatioBased(ratio))
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    return provider


class OtelTracer:
    """Makes spans. Their attributes are names of our lists, ids of calls and numbers."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("openmonetize.proxy")
        self._propagator = TraceContextTextMapPropagator()

    @contextlib.contextmanager
    def request(self, event_id: str, trace_parent: str, *, route: str) -> Iterator[_Step]:
        """Begin a call; what cannot be read as a trace of the caller's is none."""
        attributes = {"http.route": route, "om.event_id": event_id}
        span = self._tracer.start_span(
            "proxy request", self._context(trace_parent), kind=SpanKind.SERVER, attributes=attributes
        )
        with self._running(span, event_id):
            yield _Step(span)

    @contextlib.contextmanager
    def step(self, name: str, *, provider: str = "") -> Iterator[_Step]:
        """Begin a part of the call."""
        call = calling.get()
        if not call.trace_parent:
            yield _Step(None)
            return
        kind = SpanKind.CLIENT if name == _UPSTREAM else SpanKind.INTERNAL
        attributes = {"om.provider": provider} if provider else {}
        parent = self._context(call.trace_parent)
        span = self._tracer.start_span(name, parent, kind=kind, attributes=attributes)
        with self._running(span, call.request_id):
            yield _Step(span)

    @contextlib.contextmanager
    def _running(self, span: Span, request_id: str) -> Iterator[None]:
        token = calling.set(CallContext(request_id, self._parent_of(span)))
        try:
            yield
        except BaseException as error:
            # Its kind alone: the text of an error can quote a key or a prompt.
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            calling.reset(token)
            span.end()

    def _context(self, trace_parent: str) -> Context:
        return self._propagator.extract({TRACE_PARENT: trace_parent}, Context())

    def _parent_of(self, span: Span) -> str:
        """How others name a span as theirs; empty for one that is not kept."""
        context = span.get_span_context()
        if not context.trace_flags.sampled:
            return ""
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


class _Step:
    """A span as the proxy sees it."""

    def __init__(self, span: Span | None) -> None:
        self._span = span

    def note(self, name: str, value: str | int) -> None:
        """Set an attribute."""
        if self._span is not None:
            self._span.set_attribute(name, value)
