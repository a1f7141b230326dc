from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proxy.providers.sandbox.asking import (
    ANSWER,
    ANSWER_TOKENS,
    QUESTION_TOKENS,
    chat,
    error,
    events,
    parsed,
)

INCLUDE_USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


def test_a_completion_has_the_answer_and_its_usage() -> None:
    completion = parsed(chat())

    assert completion["choices"][0]["message"]["content"] == ANSWER
    assert completion["choices"][0]["finish_reason"] == "stop"
    assert completion["model"] == "gpt-4o-2024-08-06"
    assert completion["usage"] == {
        "prompt_tokens": QUESTION_TOKENS,
        "completion_tokens": ANSWER_TOKENS,
        "total_tokens": QUESTION_TOKENS + ANSWER_TOKENS,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def test_prompt_tokens_include_the_cache_and_completion_tokens_the_reasoning() -> None:
    usage = parsed(chat("input_tokens=200; cached=2000; cache_write=400; output_tokens=108; reasoning=192"))[
        "usage"
    ]

    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (2600, 300, 2900)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 2000
    assert usage["prompt_tokens_details"]["cache_write_tokens"] == 400
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 192


@pytest.mark.parametrize(
    "caps", [{"max_tokens": 5}, {"max_completion_tokens": 5}, {"max_completion_tokens": 5, "max_tokens": 9}]
)
def test_a_cap_cuts_the_answer(caps: dict[str, Any]) -> None:
    completion = parsed(chat(**caps))

    assert completion["choices"][0]["message"]["content"] == ANSWER[:20]
    assert completion["choices"][0]["finish_reason"] == "length"
    assert completion["usage"]["completion_tokens"] == 5


@given(
    n=st.integers(1, 4),
    cap=st.none() | st.integers(0, 60),
    output=st.integers(0, 60),
    reasoning=st.integers(0, 40),
    cached=st.integers(0, 9),
)
def test_stream_and_plain_answer_agree(
    n: int, cap: int | None, output: int, reasoning: int, cached: int
) -> None:
    sim = f"output_tokens={output}; reasoning={reasoning}; cached={cached}"
    fields = {"n": n, "max_completion_tokens": cap, "service_tier": "flex"}

    plain = parsed(chat(sim, **fields))
    chunks = events(chat(sim, **fields, **INCLUDE_USAGE))

    assert chunks[-1]["usage"] == plain["usage"]
    for choice in plain["choices"]:
        assert told(chunks, choice["index"]) == (choice["message"]["content"], choice["finish_reason"])
    for chunk in chunks:
        assert (chunk["model"], chunk["id"], chunk["service_tier"]) == (plain["model"], plain["id"], "flex")


def test_a_stream_has_no_usage_unless_it_was_asked_for() -> None:
    chunks = events(chat(stream=True))

    assert all("usage" not in chunk for chunk in chunks)
    assert all(chunk["choices"] for chunk in chunks)


def test_an_asked_for_usage_comes_once_in_a_last_chunk_without_choices() -> None:
    *chunks, last = events(chat(**INCLUDE_USAGE))

    assert all(chunk["usage"] is None and chunk["choices"] for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == ANSWER_TOKENS


def test_a_stream_consists_of_data_lines_and_ends_with_done() -> None:
    reply = chat(stream=True)

    assert reply.frames[-1] == b"data: [DONE]\n\n"
    assert all(frame.startswith(b"data: ") and frame.endswith(b"\n\n") for frame in reply.frames)
    assert dict(reply.headers)["content-type"] == "text/event-stream; charset=utf-8"


def test_deltas_are_a_token_each() -> None:
    contents = [chunk["choices"][0]["delta"].get("content") for chunk in events(chat(stream=True))]

    assert len([content for content in contents if content]) == ANSWER_TOKENS


@pytest.mark.parametrize(
    ("usage", "fields", "places"),
    [
        ("missing", INCLUDE_USAGE, []),
        ("with_choices", INCLUDE_USAGE, ["with choices"]),
        ("with_choices", {"stream": True}, ["with choices"]),
        ("twice", INCLUDE_USAGE, ["with choices", "alone"]),
        ("twice", {"stream": True}, []),
    ],
)
def test_usage_can_stand_where_other_providers_put_it(
    usage: str, fields: dict[str, Any], places: list[str]
) -> None:
    chunks = [chunk for chunk in events(chat(f"usage={usage}", **fields)) if chunk.get("usage")]

    assert ["with choices" if chunk["choices"] else "alone" for chunk in chunks] == places
    assert all(chunk["usage"]["completion_tokens"] == ANSWER_TOKENS for chunk in chunks)


def test_a_plain_answer_can_lack_its_usage() -> None:
    assert "usage" not in parsed(chat("usage=missing"))


def test_obfuscation_is_on_unless_refused() -> None:
    refused: dict[str, Any] = {"stream": True, "stream_options": {"include_obfuscation": False}}

    assert all(chunk["obfuscation"] for chunk in events(chat(stream=True)))
    assert all("obfuscation" not in chunk for chunk in events(chat(**refused)))


def test_comments_come_first() -> None:
    assert chat("comments=2", stream=True).frames[:2] == (b": keep-alive\n\n",) * 2


@pytest.mark.parametrize(
    ("requested", "sim", "served"),
    [
        (None, "", "default"),
        ("auto", "", "default"),
        ("fast", "", "priority"),
        ("flex", "", "flex"),
        ("priority", "tier=default", "default"),
    ],
)
def test_the_answer_names_the_tier_that_served(requested: str | None, sim: str, served: str) -> None:
    assert parsed(chat(sim, service_tier=requested))["service_tier"] == served


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, None),
        ({"messages": None}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"max_tokens": "ten"}, "max_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_a_bad_request_is_refused(fields: dict[str, Any], param: str | None) -> None:
    reply = chat(**fields)

    assert reply.status == 400
    assert error(reply)["type"] == "invalid_request_error"
    assert error(reply)["param"] == param


def test_a_missing_model_is_not_found() -> None:
    reply = chat(model="missing-model")

    assert reply.status == 404
    assert error(reply)["code"] == "model_not_found"


def told(chunks: list[Any], index: int) -> tuple[str, str]:
    """Put the text of one choice together, and its finish reason."""
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    reasons = [choice["finish_reason"] for choice in choices]
    assert reasons[:-1] == [None] * (len(reasons) - 1)
    return text, reasons[-1]
