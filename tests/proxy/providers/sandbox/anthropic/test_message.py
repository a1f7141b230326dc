from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proxy.providers.sandbox.asking import (
    ANSWER,
    ANSWER_TOKENS,
    QUESTION_TOKENS,
    error,
    events,
    message,
    named,
    parsed,
)

COUNT_TOKENS = "/v1/messages/count_tokens"


def test_a_message_has_the_answer_and_its_usage() -> None:
    answer = parsed(message())

    assert answer["content"] == [{"type": "text", "text": ANSWER, "citations": None}]
    assert (answer["stop_reason"], answer["model"]) == ("end_turn", "claude-opus-4-8")
    assert answer["usage"] == {
        "input_tokens": QUESTION_TOKENS,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "service_tier": "standard",
        "inference_geo": "global",
        "output_tokens": ANSWER_TOKENS,
    }


def test_input_tokens_exclude_the_cache_and_output_tokens_include_the_thinking() -> None:
    sim = (
        "input_tokens=50; cache_write_5m=200; cache_write_1h=100; cached=1800; output_tokens=80; reasoning=40"
    )
    usage = parsed(message(sim))["usage"]

    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (
        50,
        1800,
        120,
    )
    assert usage["cache_creation_input_tokens"] == 300
    assert usage["cache_creation"] == {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100}
    assert usage["output_tokens_details"] == {"thinking_tokens": 40}


def test_the_system_prompt_counts_as_input() -> None:
    blocks = [{"type": "text", "text": "Answer briefly."}]  # Fifteen characters; with the question 27.

    assert parsed(message(system="Answer briefly."))["usage"]["input_tokens"] == 7
    assert parsed(message(system=blocks))["usage"]["input_tokens"] == 7


def test_max_tokens_cuts_the_answer() -> None:
    answer = parsed(message(max_tokens=5))

    assert answer["content"][0]["text"] == ANSWER[:20]
    assert (answer["stop_reason"], answer["usage"]["output_tokens"]) == ("max_tokens", 5)


@given(
    cap=st.integers(0, 90),
    output=st.integers(0, 90),
    reasoning=st.integers(0, 40),
    cached=st.integers(0, 9),
    written=st.integers(0, 9),
)
def test_stream_and_plain_answer_agree(
    cap: int, output: int, reasoning: int, cached: int, written: int
) -> None:
    sim = f"output_tokens={output}; reasoning={reasoning}; cached={cached}; cache_write_1h={written}"

    plain = parsed(message(sim, max_tokens=cap))
    stream = message(sim, max_tokens=cap, stream=True)

    start, delta = named(stream, "message_start")[0]["message"], named(stream, "message_delta")[0]
    assert start["usage"] | delta["usage"] == plain["usage"]
    assert start["usage"]["output_tokens"] <= plain["usage"]["output_tokens"]
    assert (start["id"], start["model"]) == (plain["id"], plain["model"])
    assert delta["delta"]["stop_reason"] == plain["stop_reason"]
    blocks = [event["content_block"]["type"] for event in named(stream, "content_block_start")]
    assert blocks == [block["type"] for block in plain["content"]]
    deltas = [event["delta"] for event in named(stream, "content_block_delta")]
    text = "".join(delta["text"] for delta in deltas if delta["type"] == "text_delta")
    assert text == "".join(block["text"] for block in plain["content"] if block["type"] == "text")


def test_a_stream_goes_from_start_to_stop_with_a_ping_between() -> None:
    kinds = [event["type"] for event in events(message(stream=True))]

    assert kinds[:3] == ["message_start", "ping", "content_block_start"]
    assert set(kinds[3:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_every_frame_names_its_event_and_ends_with_an_empty_line() -> None:
    for frame in message(stream=True).frames:
        name, data, *rest = frame.split(b"\n")
        assert name.startswith(b"event: ")
        assert data.startswith(b"data: {")
        assert rest == [b"", b""]


def test_thinking_comes_before_the_text_with_a_signature() -> None:
    deltas = [
        event["delta"]["type"] for event in named(message("reasoning=9", stream=True), "content_block_delta")
    ]

    assert deltas == ["thinking_delta", "signature_delta"] + ["text_delta"] * 4


def test_the_closing_delta_corrects_the_input_of_the_start() -> None:
    stream = message("input_tokens=31772; start_input_tokens=2050; output_tokens=644", stream=True)

    start, delta = (
        named(stream, "message_start")[0]["message"]["usage"],
        named(stream, "message_delta")[0]["usage"],
    )
    assert (start["input_tokens"], start["output_tokens"]) == (2050, 1)
    assert (delta["input_tokens"], delta["output_tokens"]) == (31772, 644)


def test_only_the_start_tells_the_split_of_writes_and_the_tier() -> None:
    stream = message("cache_write_5m=200; cache_write_1h=100; tier=priority", stream=True)

    start, delta = (
        named(stream, "message_start")[0]["message"]["usage"],
        named(stream, "message_delta")[0]["usage"],
    )
    assert start["cache_creation"] == {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 100}
    assert start["service_tier"] == "priority"
    assert delta["cache_creation_input_tokens"] == 300
    assert not {"cache_creation", "service_tier", "inference_geo"} & delta.keys()


def test_usage_can_be_missing() -> None:
    stream = message("usage=missing", stream=True)

    assert "usage" not in parsed(message("usage=missing"))
    assert b'"usage"' not in stream.body


@pytest.mark.parametrize("pings", [0, 1, 4])
def test_so_many_pings_are_sent(pings: int) -> None:
    stream = message(f"pings={pings}", stream=True)

    assert stream.frames.count(b'event: ping\ndata: {"type": "ping"}\n\n') == pings


def test_no_ping_comes_behind_the_end() -> None:
    assert message("pings=1000", stream=True).frames[-1].startswith(b"event: message_stop\n")


def test_padding_varies_unless_told() -> None:
    def spaces(sim: str) -> list[int]:
        return [frame.count(b" ") for frame in message(sim + "pings=0", stream=True).frames]

    differences = {
        padded - bare for padded, bare in zip(spaces("padding=7;"), spaces("padding=0;"), strict=True)
    }
    assert differences == {7}
    assert spaces("") != spaces("padding=0;")


@pytest.mark.parametrize("field", ["model", "max_tokens", "messages"])
def test_a_required_field_is_named_when_it_is_missing(field: str) -> None:
    absent: dict[str, Any] = {field: None}

    reply = message(**absent)

    assert reply.status == 400
    assert error(reply)["message"] == f"{field}: Field required"


def test_a_missing_model_is_not_found() -> None:
    reply = message(model="missing-model")

    assert (reply.status, error(reply)["type"]) == (404, "not_found_error")
    # The code is another family's word.
    assert error(reply)["details"] is None


def test_counting_tokens_gives_the_whole_prompt_of_the_message() -> None:
    sim = "cached=1000; cache_write_5m=20; cache_write_1h=3"

    usage = parsed(message(sim))["usage"]

    assert parsed(message(sim, path=COUNT_TOKENS)) == {
        "input_tokens": usage["input_tokens"]
        + usage["cache_read_input_tokens"]
        + usage["cache_creation_input_tokens"]
    }
    assert parsed(message(path=COUNT_TOKENS)) == {"input_tokens": QUESTION_TOKENS}
