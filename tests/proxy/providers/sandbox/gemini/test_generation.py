from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proxy.providers.sandbox.asking import (
    ANSWER,
    ANSWER_TOKENS,
    GENERATE,
    QUESTION,
    QUESTION_TOKENS,
    STREAM,
    error,
    events,
    generate,
    parsed,
)

COUNT_TOKENS = GENERATE.replace("generateContent", "countTokens")


def test_a_generation_has_the_answer_and_its_usage() -> None:
    answer = parsed(generate())

    content = {"parts": [{"text": ANSWER}], "role": "model"}
    assert answer["candidates"] == [{"content": content, "finishReason": "STOP", "index": 0}]
    assert answer["modelVersion"] == "gemini-2.5-flash"
    # Zero counts are not written at all.
    assert answer["usageMetadata"] == {
        "promptTokenCount": QUESTION_TOKENS,
        "candidatesTokenCount": ANSWER_TOKENS,
        "totalTokenCount": QUESTION_TOKENS + ANSWER_TOKENS,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": QUESTION_TOKENS}],
        "serviceTier": "standard",
    }


def test_the_prompt_includes_the_cache_and_candidates_exclude_thoughts() -> None:
    usage = parsed(generate("input_tokens=200; cached=800; output_tokens=60; reasoning=40"))["usageMetadata"]

    assert (usage["promptTokenCount"], usage["cachedContentTokenCount"]) == (1000, 800)
    assert (usage["candidatesTokenCount"], usage["thoughtsTokenCount"]) == (60, 40)
    assert usage["totalTokenCount"] == 1100


def test_thoughts_can_use_the_whole_cap_and_leave_no_candidates_count() -> None:
    answer = parsed(generate("input_tokens=15; reasoning=9", generationConfig={"maxOutputTokens": 2}))

    assert answer["candidates"][0] == {"content": {"role": "model"}, "finishReason": "MAX_TOKENS", "index": 0}
    assert "candidatesTokenCount" not in answer["usageMetadata"]
    assert answer["usageMetadata"]["totalTokenCount"] == 17


@pytest.mark.parametrize(
    "fields",
    [
        {"systemInstruction": {"parts": [{"text": "Be brief"}]}, "generationConfig": {"maxOutputTokens": 5}},
        {
            "system_instruction": {"parts": [{"text": "Be brief"}]},
            "generation_config": {"max_output_tokens": 5},
        },
    ],
)
def test_fields_are_read_in_both_of_their_spellings(fields: dict[str, Any]) -> None:
    answer = parsed(generate(**fields))

    assert answer["candidates"][0]["content"]["parts"] == [{"text": ANSWER[:20]}]
    assert answer["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert answer["usageMetadata"]["promptTokenCount"] == QUESTION_TOKENS + 2


@given(
    cap=st.none() | st.integers(0, 90),
    output=st.integers(0, 90),
    reasoning=st.integers(0, 40),
    candidates=st.integers(1, 3),
    usage=st.sampled_from(["", "usage=unsteady"]),
)
def test_stream_array_and_plain_answer_agree(
    cap: int | None, output: int, reasoning: int, candidates: int, usage: str
) -> None:
    sim = f"output_tokens={output}; reasoning={reasoning}; {usage}"
    settings: dict[str, Any] = {"maxOutputTokens": cap, "candidateCount": candidates}

    plain = parsed(generate(sim, generationConfig=settings))
    frames = events(generate(sim, path=STREAM, generationConfig=settings))
    array = parsed(generate(sim, path=STREAM, alt="", generationConfig=settings))

    assert array == frames
    last = frames[-1]
    assert last["usageMetadata"] == plain["usageMetadata"]
    for index, candidate in enumerate(plain["candidates"]):
        parts = [part for frame in frames for part in frame["candidates"][index]["content"].get("parts", [])]
        whole = "".join(part["text"] for part in candidate["content"].get("parts", []))
        assert "".join(part["text"] for part in parts) == whole
        assert last["candidates"][index]["finishReason"] == candidate["finishReason"]
    assert all("finishReason" not in frame["candidates"][0] for frame in frames[:-1])


def test_frames_have_crlf_and_a_space_after_colons() -> None:
    reply = generate(path=STREAM)

    assert all(frame.startswith(b'data: {"candidates": [{') for frame in reply.frames)
    assert all(frame.endswith(b"}\r\n\r\n") and frame.count(b"\n") == 2 for frame in reply.frames)
    assert dict(reply.headers)["content-type"] == "text/event-stream"


def test_each_frame_has_the_usage_so_far() -> None:
    counts = [frame["usageMetadata"]["candidatesTokenCount"] for frame in events(generate(path=STREAM))]

    assert counts == [4, 8, 12, 16]


def test_an_array_is_json_of_several_pieces() -> None:
    reply = generate(path=STREAM, alt="")

    assert reply.frames[0].startswith(b'[{\n  "candidates": [')
    assert reply.frames[1].startswith(b",\r\n{")
    assert reply.frames[-1] == b"\n]\n"
    assert dict(reply.headers)["content-type"] == "application/json; charset=UTF-8"


def test_unsteady_counts_go_up_and_down_before_the_true_last_frame() -> None:
    usages = [frame["usageMetadata"] for frame in events(generate("usage=unsteady", path=STREAM))]

    assert [usage["candidatesTokenCount"] for usage in usages] == [4, 8, 4, 16]
    assert [usage["promptTokenCount"] for usage in usages] == [3, 140, 3, 3]


def test_a_dropped_count_was_complete_in_the_frame_before() -> None:
    *_, before, last = [
        frame["usageMetadata"] for frame in events(generate("usage=dropped; output_tokens=5", path=STREAM))
    ]

    assert before["candidatesTokenCount"] == 5
    assert "candidatesTokenCount" not in last
    assert last["totalTokenCount"] == QUESTION_TOKENS


def test_usage_can_be_missing() -> None:
    assert "usageMetadata" not in parsed(generate("usage=missing"))
    assert all("usageMetadata" not in frame for frame in events(generate("usage=missing", path=STREAM)))


def test_the_answer_names_the_tier_that_served() -> None:
    assert parsed(generate(serviceTier="flex"))["usageMetadata"]["serviceTier"] == "flex"
    assert parsed(generate("tier=standard", serviceTier="flex"))["usageMetadata"]["serviceTier"] == "standard"


def test_counting_tokens_gives_the_prompt_of_the_generation() -> None:
    wrapped: dict[str, Any] = {
        "contents": None,
        "generateContentRequest": {"contents": [{"parts": [{"text": QUESTION}]}]},
    }

    assert parsed(generate(path=COUNT_TOKENS))["totalTokens"] == QUESTION_TOKENS
    assert parsed(generate(path=COUNT_TOKENS, **wrapped))["totalTokens"] == QUESTION_TOKENS
    assert parsed(generate("cached=5", path=COUNT_TOKENS))["cachedContentTokenCount"] == 5


@pytest.mark.parametrize(
    "fields",
    [
        {"contents": None},
        {"contents": "hello"},
        {"generationConfig": []},
        {"generationConfig": {"maxOutputTokens": "5"}},
        {"generationConfig": {"candidateCount": 0}},
        {"generationConfig": {"candidateCount": 9}},
    ],
)
def test_a_bad_request_is_refused(fields: dict[str, Any]) -> None:
    reply = generate(**fields)

    assert (reply.status, error(reply)["status"]) == (400, "INVALID_ARGUMENT")


def test_a_missing_model_is_not_found() -> None:
    reply = generate(path=GENERATE.replace("gemini-2.5-flash", "missing-model"))

    assert (reply.status, error(reply)["status"]) == (404, "NOT_FOUND")
