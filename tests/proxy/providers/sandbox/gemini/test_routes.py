"""Gemini's other routes, and what a generation can be made to do."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from om_proxy.providers.sandbox import Incoming, Reply, respond
from tests.proxy.providers.sandbox.asking import (
    ANSWER,
    ANSWER_TOKENS,
    HEADERS,
    QUESTION,
    QUESTION_TOKENS,
    STAMP,
    STREAM,
    error,
    events,
    generate,
    parsed,
    send,
)

MODELS = "/v1beta/models"
CONTENT = {"parts": [{"text": QUESTION}]}


def get(path: str, sim: str = "", *, method: str = "GET") -> Reply:
    return respond(Incoming(method, path, {}, {**HEADERS, "x-sim": sim}, b""), STAMP)


def test_a_tool_is_called_whole_and_streamed() -> None:
    tools = [{"functionDeclarations": [{"name": "look_up"}]}]
    whole = parsed(generate("tool_call=1", tools=tools))
    (streamed,) = events(generate("tool_call=1", path=STREAM, tools=tools))

    call = whole["candidates"][0]["content"]["parts"][0]["functionCall"]
    assert (call["name"], call["args"]) == ("look_up", {"city": "Bern"})
    assert streamed == whole
    assert whole["usageMetadata"]["candidatesTokenCount"] == 4


def test_a_blocked_prompt_has_no_candidates_and_costs_only_itself() -> None:
    for told in (parsed(generate("refusal=1; reasoning=9")), *events(generate("refusal=1", path=STREAM))):
        assert "candidates" not in told
        assert told["promptFeedback"]["blockReason"]
        assert told["usageMetadata"]["totalTokenCount"] == QUESTION_TOKENS


@pytest.mark.parametrize(("sim", "shown"), [("reasoning=9", True), ("reasoning=9; silent=1", False)])
def test_thoughts_are_shown_where_asked_for_and_always_billed(sim: str, *, shown: bool) -> None:
    asked: dict[str, Any] = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
    whole = parsed(generate(sim, **asked))
    streamed = events(generate(sim, path=STREAM, **asked))

    parts = [part for told in streamed for part in told["candidates"][0]["content"].get("parts", [])]
    for given in (parts, whole["candidates"][0]["content"]["parts"]):
        assert [part for part in given if part.get("thought")] == given[: int(shown)]
        assert "".join(part["text"] for part in given if not part.get("thought")) == ANSWER
    assert whole["usageMetadata"]["thoughtsTokenCount"] == 9
    assert not [
        part for part in parsed(generate(sim))["candidates"][0]["content"]["parts"] if "thought" in part
    ]


def test_searches_are_told_by_their_queries() -> None:
    (candidate,) = parsed(generate("web_searches=2"))["candidates"]

    assert len(candidate["groundingMetadata"]["webSearchQueries"]) == 2


@pytest.mark.parametrize(
    ("model", "counted"), [("gemini-embedding-001", False), ("gemini-embedding-2", True)]
)
def test_only_newer_embeddings_report_what_they_counted(model: str, *, counted: bool) -> None:
    one = parsed(send(f"{MODELS}/{model}:embedContent", {"content": CONTENT, "outputDimensionality": 8}))
    two = parsed(
        send(
            f"{MODELS}/{model}:batchEmbedContents",
            {"requests": [{"model": f"models/{model}", "content": CONTENT, "output_dimensionality": 8}] * 2},
        )
    )

    assert two["embeddings"] == [one["embedding"]] * 2
    assert len(one["embedding"]["values"]) == 8
    assert [told.get("usageMetadata", {}).get("promptTokenCount") for told in (one, two)] == (
        [QUESTION_TOKENS, 2 * QUESTION_TOKENS] if counted else [None, None]
    )


def test_withheld_pictures_are_missing() -> None:
    body = {"instances": [{"prompt": QUESTION}], "parameters": {"sampleCount": 4}}
    path = f"{MODELS}/imagen-4.0-generate-001:predict"
    answer = respond(
        Incoming("POST", path, {}, {**HEADERS, "x-sim": "filtered=3"}, orjson.dumps(body)), STAMP
    )

    pictures = [item for item in parsed(answer)["predictions"] if "bytesBase64Encoded" in item]
    assert len(pictures) == 1
    assert send(path, {**body, "parameters": {"sampleCount": 9}}).status == 400


def test_a_video_is_done_when_it_is_asked_for_again() -> None:
    body = {"instances": [{"prompt": QUESTION}], "parameters": {"sampleCount": 2}}
    name = parsed(send(f"{MODELS}/veo-2.0-generate-001:predictLongRunning", body))["name"]

    done = parsed(get(f"/v1beta/{name}"))
    assert done["done"]
    assert len(done["response"]["generateVideoResponse"]["generatedSamples"]) == 2
    assert parsed(get(f"/v1beta/{name}")) == done
    assert "done" not in parsed(get(f"/v1beta/{name}", "status=queued"))
    assert parsed(get(f"/v1beta/{name}", "status=failed"))["error"]
    assert get("/v1beta/models/veo/operations/unknown").status == 404


def test_a_named_cache_is_read_and_told_by_its_name() -> None:
    made = parsed(
        send("/v1beta/cachedContents", {"model": "models/gemini-2.5-flash", "contents": [CONTENT] * 10})
    )
    tokens = 10 * QUESTION_TOKENS

    assert made["usageMetadata"]["totalTokenCount"] == tokens
    assert parsed(get(f"/v1beta/{made['name']}")) == made
    usage = parsed(generate(cachedContent=made["name"]))["usageMetadata"]
    assert (usage["cachedContentTokenCount"], usage["promptTokenCount"]) == (tokens, tokens + QUESTION_TOKENS)
    assert get(f"/v1beta/{made['name']}", method="DELETE").status == 200
    assert generate(cachedContent="cachedContents/unknown").status == 403


def test_the_endpoint_in_openai_s_language_shows_thinking_in_the_total_alone() -> None:
    body = {"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": QUESTION}]}
    path = "/v1beta/openai/chat/completions"
    raw = orjson.dumps(body)
    answer = parsed(respond(Incoming("POST", path, {}, {**HEADERS, "x-sim": "reasoning=9"}, raw), STAMP))

    assert answer["usage"] == {
        "prompt_tokens": QUESTION_TOKENS,
        "completion_tokens": ANSWER_TOKENS,
        "total_tokens": QUESTION_TOKENS + ANSWER_TOKENS + 9,
    }
    assert "usage" not in parsed(send("/v1beta/openai/embeddings", {"model": "x", "input": QUESTION}))


def test_directives_behind_a_model_s_name_work_in_an_address() -> None:
    answer = parsed(generate(path=f"{MODELS}/gemini-2.5-flash--sim.reasoning.7:generateContent"))

    assert answer["modelVersion"] == "gemini-2.5-flash"
    assert answer["usageMetadata"]["thoughtsTokenCount"] == 7
    refused = generate(path=f"{MODELS}/gemini-2.5-flash--sim.colour.7:generateContent")
    assert "colour" in error(refused)["message"]
