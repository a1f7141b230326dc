from __future__ import annotations

import gzip
from typing import Any

import orjson
import pytest

from om_proxy.metering.decode import Decoder
from om_proxy.metering.framing import WholeBody
from om_proxy.metering.reading import Flag, Line, Metered
from om_proxy.metering.usage import Certainty, Unit, usage_of
from om_proxy.upstream.meter import Meter
from tests.proxy.exchange import (
    CHAT_PATH,
    EVENTS,
    GENERATE_PATH,
    JSON,
    MESSAGES_PATH,
    STREAM_PATH,
    amounts,
    call_of,
    events,
    meter_in_pieces,
)

TEXT = "Hello, world"
ASKS: dict[str, Any] = {
    CHAT_PATH: {"model": "gpt-4o", "messages": []},
    MESSAGES_PATH: {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": []},
    GENERATE_PATH: {"contents": []},
}


def answer(path: str, usage: object) -> dict[str, Any]:
    return {
        CHAT_PATH: {"model": "gpt-4o", "choices": [{"message": {"content": TEXT}}], "usage": usage},
        MESSAGES_PATH: {
            "type": "message",
            "model": "claude-sonnet-4-5",
            "content": [{"type": "text", "text": TEXT}],
            "usage": usage,
        },
        GENERATE_PATH: {
            "candidates": [{"content": {"parts": [{"text": TEXT}]}, "finishReason": "STOP"}],
            "usageMetadata": usage,
        },
    }[path]


# Names of the counts of input, output and a part of the input.
NAMES = {
    CHAT_PATH: ("prompt_tokens", "completion_tokens", "prompt_tokens_details"),
    MESSAGES_PATH: ("input_tokens", "output_tokens", "cache_read_input_tokens"),
    GENERATE_PATH: ("promptTokenCount", "candidatesTokenCount", "cachedContentTokenCount"),
}


def metered(path: str, body: bytes | dict[str, Any], encoding: str = "") -> Metered:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    return meter_in_pieces(call_of(path, ASKS[path]), [data], content_type=JSON, encoding=encoding)


def certainty(reading: Metered, unit: str) -> Certainty:
    return next(item.certainty for item in reading.lines[0].usage.quantities if item.unit == unit)


@pytest.mark.parametrize("path", ASKS)
@pytest.mark.parametrize("value", [-1, -(2**63), 10**12, 2**63, 1.5, "7", True, [], {}])
def test_a_count_that_cannot_be_one_is_unknown_and_estimated(path: str, value: object) -> None:
    total_in, total_out, _ = NAMES[path]
    raw = orjson.dumps(answer(path, {total_in: 11, total_out: "@"}))

    reading = metered(path, raw.replace(b'"@"', orjson.dumps(value)))

    assert amounts(reading.lines[0])["output_tokens"] == 3
    assert certainty(reading, "output_tokens") is Certainty.ESTIMATED
    assert amounts(reading.lines[0])["input_tokens"] == 11
    assert Flag.USAGE_MALFORMED in reading.flags


@pytest.mark.parametrize("path", ASKS)
@pytest.mark.parametrize("number", [b"1e400", b"NaN", b"-", b"0x7", b"9" * 1_000_000])
def test_a_number_that_json_does_not_have_makes_the_body_unreadable(path: str, number: bytes) -> None:
    reading = metered(path, orjson.dumps(answer(path, {"n": "@"})).replace(b'"@"', number))

    assert amounts(reading.lines[0])["output_tokens"] == 3
    assert reading.lines[0].usage.certainties == {Certainty.ESTIMATED}


@pytest.mark.parametrize("path", ASKS)
@pytest.mark.parametrize("value", [None, 7, "x", [], [{}], {}, {"nothing": 1}])
def test_no_usage_is_an_estimate_and_never_zero(path: str, value: object) -> None:
    reading = metered(path, answer(path, value))

    body_bytes = len(orjson.dumps(ASKS[path]))
    assert amounts(reading.lines[0]) == {"input_tokens": -(-body_bytes // 4), "output_tokens": 3}
    assert reading.lines[0].usage.certainties == {Certainty.ESTIMATED}
    assert Flag.USAGE_MISSING in reading.flags
    assert not reading.measured


@pytest.mark.parametrize("path", ASKS)
def test_an_explicit_zero_is_a_measurement(path: str) -> None:
    total_in, total_out, _ = NAMES[path]
    reading = metered(path, answer(path, {total_in: 0, total_out: 0}))

    assert amounts(reading.lines[0]) == {"input_tokens": 0, "output_tokens": 0}
    assert reading.measured


@pytest.mark.parametrize("path", ASKS)
def test_a_malformed_part_leaves_the_total_as_an_estimate(path: str) -> None:
    total_in, total_out, part = NAMES[path]
    reading = metered(path, answer(path, {total_in: 11, total_out: 2, part: "many"}))

    assert amounts(reading.lines[0]) == {"input_tokens": 11, "output_tokens": 2}
    assert reading.lines[0].usage.certainties == {Certainty.ESTIMATED}


@pytest.mark.parametrize("path", ASKS)
@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"[1]", b"null", b"\xff\x00", b"[" * 100_000])
def test_a_body_that_is_no_object_is_estimated_and_flagged(path: str, body: bytes) -> None:
    reading = metered(path, body)

    assert len(reading.lines) == 1
    assert reading.lines[0].usage.certainties == {Certainty.ESTIMATED}
    assert Flag.USAGE_MISSING in reading.flags
    assert (Flag.DOCUMENT_MALFORMED in reading.flags) == bool(body)


@pytest.mark.parametrize("path", ASKS)
def test_a_body_that_was_cut_off_counts_what_was_seen(path: str) -> None:
    total_in, total_out, _ = NAMES[path]
    whole = orjson.dumps(answer(path, {total_in: 5, total_out: 5}))
    reading = metered(path, whole[: whole.index(b"world") + 7])

    assert amounts(reading.lines[0])["output_tokens"] == 3
    assert reading.flags >= {Flag.DOCUMENT_MALFORMED, Flag.USAGE_MISSING}


@pytest.mark.parametrize("path", ASKS)
def test_an_error_with_a_status_of_success_consumed_nothing(path: str) -> None:
    reading = metered(path, {"type": "error", "error": {"type": "api_error", "message": "no", "code": 500}})

    assert reading.lines == ()
    assert Flag.ERROR_IN_ANSWER in reading.flags


def test_an_unreadable_coding_is_estimated_from_its_bytes() -> None:
    reading = metered(CHAT_PATH, b"x" * 400, encoding="br")

    assert amounts(reading.lines[0])["output_tokens"] == 100
    assert reading.flags >= {Flag.ENCODING_UNREADABLE, Flag.USAGE_MISSING}


def test_a_bomb_leaves_the_output_unknown() -> None:
    reading = metered(CHAT_PATH, gzip.compress(b'{"a":"' + bytes(40 << 20)), encoding="gzip")

    assert amounts(reading.lines[0])["output_tokens"] is None
    assert certainty(reading, "output_tokens") is Certainty.UNKNOWN
    assert Flag.DECODED_OVER_LIMIT in reading.flags


def test_a_giant_event_loses_nothing_but_itself() -> None:
    call = call_of(CHAT_PATH, {"model": "gpt-4o", "stream": True, "messages": []})
    chunk = {"id": "a", "model": "gpt-4o", "choices": [{"delta": {"content": "x" * (1 << 20)}}]}
    usage = {
        "model": "gpt-4o",
        "choices": [],
        "usage": {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9},
    }

    reading = meter_in_pieces(call, [events([chunk, usage, "[DONE]"])])

    assert amounts(reading.lines[0]) == {"input_tokens": 4, "output_tokens": 5}
    assert reading.flags == {Flag.DOCUMENT_OVER_LIMIT}
    assert reading.measured


def test_a_gemini_event_may_hold_a_whole_image() -> None:
    call = call_of(STREAM_PATH, {"contents": []})
    frame = {
        "candidates": [
            {"content": {"parts": [{"inlineData": {"data": "A" * (4 << 20)}}]}, "finishReason": "STOP"}
        ],
        "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 1290, "totalTokenCount": 1294},
    }
    stream = events([frame], b"\r\n")

    reading = meter_in_pieces(call, [stream[at : at + 65_536] for at in range(0, len(stream), 65_536)])

    assert amounts(reading.lines[0]) == {"input_tokens": 4, "output_tokens": 1290}


STREAMS: dict[str, list[object]] = {
    CHAT_PATH: [
        {"id": "a", "model": "gpt-4o", "choices": [{"delta": {"content": "é🙂"}}], "usage": None},
        {"id": "a", "model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 5}},
        "[DONE]",
    ],
    MESSAGES_PATH: [
        {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 4}}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "é🙂"}},
        {"type": "message_delta", "usage": {"output_tokens": 5}},
    ],
    STREAM_PATH: [
        {"candidates": [{"content": {"parts": [{"text": "é🙂"}]}}], "usageMetadata": {"promptTokenCount": 9}},
        {
            "candidates": [{"finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 5, "totalTokenCount": 9},
        },
    ],
}


@pytest.mark.parametrize("path", STREAMS)
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_every_cut_in_two_gives_the_same_usage(path: str, newline: bytes) -> None:
    call = call_of(path, {**ASKS.get(path, {}), "stream": True})
    stream = events(STREAMS[path], newline)
    for cut in range(len(stream)):
        reading = meter_in_pieces(call, [stream[:cut], stream[cut:]])
        assert amounts(reading.lines[0]) == {"input_tokens": 4, "output_tokens": 5}, cut
        assert reading.measured, cut
        assert reading.flags == frozenset(), cut


@pytest.mark.parametrize("path", STREAMS)
def test_wherever_a_stream_breaks_there_is_one_outcome_and_never_a_zero_for_unknown(path: str) -> None:
    call = call_of(path, {**ASKS.get(path, {}), "stream": True})
    stream = events(STREAMS[path])
    for cut in range(len(stream)):
        reading = meter_in_pieces(call, [stream[:cut]])
        assert len(reading.lines) == 1
        assert reading.measured or reading.flags & {Flag.INCOMPLETE, Flag.USAGE_MISSING}, cut
        assert amounts(reading.lines[0])["input_tokens"], cut


def test_content_type_ignores_case_and_parameters() -> None:
    call = call_of(CHAT_PATH, {"model": "gpt-4o", "stream": True, "messages": []})
    reading = meter_in_pieces(call, [events(STREAMS[CHAT_PATH])], content_type=f" {EVENTS.upper()}")

    assert reading.measured


def test_work_that_goes_on_has_no_figures_yet_and_gets_no_estimate() -> None:
    class Begun:
        visible_bytes = 9

        def read(self, document: bytes) -> None: ...

        def metered(self) -> Metered:
            unknown = usage_of({Unit.INPUT_TOKENS: None, Unit.OUTPUT_TOKENS: None})
            line = Line("openai", "gpt-5", "gpt-5", "standard", unknown)
            return Metered((line,), job_id="resp_1")

    reading = Meter(Decoder(""), WholeBody(), reader=Begun(), prompt_bytes=40).finish()

    assert amounts(reading.lines[0]) == {"input_tokens": None, "output_tokens": None}
    assert reading.flags == frozenset()
