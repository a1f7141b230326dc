from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from om.type.v1 import event_pb2
from om_proxy.admission.outcome import Intent
from om_proxy.metering.include_usage import UsageEventFilter
from om_proxy.metering.reading import Metered
from om_proxy.upstream.answer import Answer
from om_proxy.upstream.tally import Tally
from tests.proxy.exchange import CHAT_PATH, call_of, provider_named
from tests.proxy.intents import intent_for
from tests.proxy.one_edge import CHAT
from tests.proxy.upstream.nowhere import Nowhere


def answer_of(status: int = 200) -> Answer:
    return Answer(Nowhere(), status, b"", [(b"Content-Type", b"text/event-stream")])


def tally_of(intent: Intent, status: int = 200) -> Tally:
    tally = Tally(intent, provider_named("openai"))
    tally.answered(answer_of(status))
    return tally


def streaming() -> Intent:
    return intent_for(call_of(CHAT_PATH, CHAT[:-1] + b',"stream":true}'))


@pytest.mark.parametrize("held", [b"", b"data: {"])
async def test_a_defect_of_the_filter_loses_no_byte(monkeypatch: pytest.MonkeyPatch, held: bytes) -> None:
    tally = tally_of(streaming())
    passed = tally.take(b"data: 1\n\n" + held)
    with capture_logs() as logs:
        monkeypatch.setattr(UsageEventFilter, "_is_plain", _broken)
        passed += tally.take(b'"x":1}\n\n')
    passed += tally.take(b"data: [DONE]\n\n") + tally.rest()

    assert passed == b"data: 1\n\n" + held + b'"x":1}\n\ndata: [DONE]\n\n'
    assert [(entry["event"], entry["kind"]) for entry in logs] == [("filter_failed", "ZeroDivisionError")]


async def test_a_defect_at_the_end_of_the_filter_loses_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    tally = tally_of(streaming())
    passed = tally.take(b"data: {")
    monkeypatch.setattr(UsageEventFilter, "finish", _broken)
    with capture_logs() as logs:
        passed += tally.rest()

    assert passed == b"data: {"
    assert "canary" not in repr(logs)


@pytest.mark.parametrize("status", [301, 400, 401, 429, 500])
async def test_a_refusal_of_the_provider_is_a_zero_and_is_not_metered(status: int) -> None:
    tally = tally_of(streaming(), status)

    assert tally.take(b"data: anything") == b"data: anything"
    assert (tally.event().outcome, tally.event().http_status) == (event_pb2.OUTCOME_ZERO, status)


async def test_a_call_that_was_never_sent_is_a_zero() -> None:
    tally = Tally(streaming(), provider_named("openai"))

    assert tally.event().outcome == event_pb2.OUTCOME_ZERO


async def test_a_defect_in_building_the_event_leaves_an_estimate_with_an_unknown_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tally = tally_of(streaming())
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr("om_proxy.upstream.tally.outcome.consumed", _broken_once(patch))
        event = tally.event()

    assert event.outcome == event_pb2.OUTCOME_ESTIMATED
    assert [item.HasField("amount") for item in event.lines[0].usage.quantities] == [True, False]
    assert [(entry["event"], entry["kind"]) for entry in logs] == [("meter_failed", "ZeroDivisionError")]


async def test_a_job_is_written_down_as_soon_as_the_stream_says_its_id() -> None:
    call = call_of("/v1/responses", {"model": "gpt-5", "input": "x", "stream": True, "background": True})
    written: list[Metered] = []
    tally = Tally(intent_for(call), provider_named("openai"), on_progress=written.append)
    tally.answered(answer_of())
    begun = (
        b'data: {"type":"response.created","response":{"id":"resp_1","background":true,"status":"queued"}}'
    )

    tally.take(begun + b"\n\n")
    tally.take(b'data: {"type":"response.output_text.delta","delta":"x"}\n\n')

    assert [metered.job_id for metered in written] == ["resp_1"]


def _broken(*_: object) -> bytes:
    raise ZeroDivisionError("sk-canary")


def _broken_once(patch: pytest.MonkeyPatch) -> object:
    def broken(*_: object, **__: object) -> None:
        patch.undo()
        raise ZeroDivisionError("sk-canary")

    return broken
