"""Counts hold names of our lists and numbers, and nothing that a caller wrote."""

from __future__ import annotations

import pytest

from om.type.v1 import event_pb2, usage_pb2
from om_proxy.counts import NONE, Counts, Distribution


def test_a_time_counts_for_every_bound_that_it_keeps() -> None:
    seconds = Distribution((0.1, 1.0))
    for value in (0.1, 0.5, 7.0):
        seconds.note(value)

    assert seconds.buckets() == [("0.1", 1), ("1.0", 2), ("+Inf", 3)]
    assert seconds.total == pytest.approx(7.6)


def test_an_answer_counts_by_status_class() -> None:
    counts = Counts()
    for status in (200, 204, 502):
        counts.answered("openai", "/v1/chat/completions", status=status, seconds=0.2)
    counts.left("openai", "/v1/chat/completions")

    assert {key[2]: count for key, count in counts.requests.items()} == {"2xx": 2, "5xx": 1, "left": 1}
    assert counts.request_s["openai"].total == pytest.approx(0.6)


@pytest.mark.parametrize(("status", "kind"), [(404, "status_4xx"), (429, "status_429"), (503, "status_5xx")])
def test_a_providers_error_counts_by_its_kind(status: int, kind: str) -> None:
    counts = Counts()
    counts.upstream("openai", status=200, seconds=0.1)
    counts.upstream("openai", status=status, seconds=0.1)

    assert counts.provider_errors == {("openai", kind): 1}


def test_a_refusal_counts_as_an_error_of_the_provider_only_where_it_reports_one() -> None:
    counts = Counts()
    counts.refused("invalid_api_key", "openai")
    counts.refused("unknown_route")
    counts.refused("upstream_timeout", "google")

    assert counts.refusals == {"invalid_api_key": 1, "unknown_route": 1, "upstream_timeout": 1}
    assert counts.provider_errors == {("google", "timeout"): 1}
    assert NONE == "none"


def _event(**fields: object) -> event_pb2.UsageEvent:
    quantities = [usage_pb2.Quantity(unit="input_tokens", amount=7)]
    line = event_pb2.UsageLine(
        provider="openai", model="gpt-4o", usage=usage_pb2.Usage(quantities=quantities)
    )
    return event_pb2.UsageEvent(outcome=event_pb2.OUTCOME_CHARGED, lines=[line, line], **fields)  # type: ignore[arg-type]


def test_an_outcome_counts_what_it_consumed() -> None:
    counts = Counts()
    counts.concluded(_event())

    assert counts.outcomes == {"CHARGED": 1}
    assert counts.quantities == {("openai", "input_tokens"): 14}


def test_a_simulated_call_consumes_nothing() -> None:
    counts = Counts()
    counts.concluded(_event(sandbox=True))

    assert counts.outcomes == {"SANDBOX": 1}
    assert counts.quantities == {}
