"""Spans of requests; those of calls and of settlement are in tests/e2e/test_traces.py."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from om_server.otel import OtelRequestTracer
from om_server.rest.tracing import Untraced
from om_server.settings import load_settings
from om_server.tracing import request_tracing

_TRACE, _PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def exporting(ratio: float = 1) -> tuple[OtelRequestTracer, InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return OtelRequestTracer(provider), exporter


def test_the_server_is_told_of_the_request_and_not_of_its_caller() -> None:
    tracer, exporter = exporting()

    with tracer.request(f"00-{_TRACE}-{_PARENT}-01", request_id="req_1") as span:
        told = span.trace_parent

    (kept,) = exporter.get_finished_spans()
    assert told == f"00-{_TRACE}-{kept.context.span_id:016x}-01"


@pytest.mark.parametrize(("ratio", "parent"), [(1, f"00-{_TRACE}-{_PARENT}-00"), (0, "")])
def test_what_nobody_keeps_is_not_passed_on(ratio: float, parent: str) -> None:
    tracer, exporter = exporting(ratio)

    with tracer.request(parent, request_id="req_1") as span:
        assert span.trace_parent == ""

    assert exporter.get_finished_spans() == ()


def test_of_an_error_a_span_has_the_kind_and_not_the_text() -> None:
    tracer, exporter = exporting()

    with pytest.raises(ValueError, match="om_live_secret"), tracer.request("", request_id="req_1"):
        raise ValueError("om_live_secret")

    (kept,) = exporter.get_finished_spans()
    assert "ValueError" in kept.to_json()
    assert "om_live_secret" not in kept.to_json()


def test_requests_are_traced_where_the_settings_name_a_collector() -> None:
    with request_tracing(load_settings(OM_OTLP_ENDPOINT="")) as nobody:
        assert isinstance(nobody, Untraced)
    with request_tracing(load_settings(OM_OTLP_ENDPOINT="http://127.0.0.1:1")) as tracer:
        assert isinstance(tracer, OtelRequestTracer)
