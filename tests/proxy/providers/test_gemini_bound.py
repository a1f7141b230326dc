"""What the requests of Gemini's routes may consume, and what leaves them without a bound."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from om_proxy.call.bound import Bound, Ceiling, ModelLimits, Unbounded, bound
from om_proxy.metering.usage import Unit
from om_proxy.refusals.problem import invalid_field, invalid_json
from tests.proxy.exchange import GENERATE_PATH, call_of, read_of

LIMITS = ModelLimits(context_window=1_000_000, max_output=8_000)
EMBED_PATH = "/v1beta/models/gemini-embedding-2:batchEmbedContents"
IMAGEN_PATH = "/v1beta/models/imagen-4.0-generate-001:predict"
VEO_PATH = "/v1beta/models/veo-3.0-generate-001:predictLongRunning"
INTERACTIONS_PATH = "/v1beta/interactions"
CACHES_PATH = "/v1beta/cachedContents"
SHIM_PATH = "/v1beta/openai/chat/completions"

TEXT = {"parts": [{"text": "Hello"}]}
PICTURE = {"parts": [{"inlineData": {"mimeType": "image/png", "data": "x" * 100_000}}]}


def bounded(path: str, body: object, limits: ModelLimits = LIMITS) -> tuple[Ceiling, ...]:
    answer = bound(call_of(path, body), limits)
    assert isinstance(answer, Bound), answer
    return (*answer.ceilings, *answer.instead)


def blamed(path: str, body: object, limits: ModelLimits = LIMITS) -> str:
    answer = bound(call_of(path, body), limits)
    assert isinstance(answer, Unbounded), answer
    return answer.field


def test_a_budget_for_thoughts_above_the_cap_is_believed() -> None:
    def output(**config: object) -> int:
        return bounded(GENERATE_PATH, {"contents": [TEXT], "generationConfig": config})[1].amount

    assert output(maxOutputTokens=100, thinkingConfig={"thinkingBudget": 5_000}) == 5_000
    assert output(maxOutputTokens=100, thinking_config={"thinking_budget": "7"}) == 100
    assert output(maxOutputTokens=100, thinkingConfig={"thinkingBudget": -1}) == 100
    assert output(thinkingConfig={"thinkingBudget": 5_000}) == 8_000
    assert output(maxOutputTokens=100, thinkingConfig={"thinkingBudget": 5_000}, candidateCount=3) == 15_000


def test_embeddings_are_bounded_by_their_text_alone() -> None:
    [prompt] = bounded(EMBED_PATH, {"requests": [{"content": TEXT}, {"content": TEXT}]})

    assert 80 < prompt.amount < 200
    assert Unit.OUTPUT_TOKENS not in prompt.units


def test_a_picture_to_embed_is_bounded_by_the_window_and_has_units_of_its_own() -> None:
    [prompt] = bounded(EMBED_PATH, {"requests": [{"content": PICTURE}]})

    assert prompt.amount == 1_000_000
    assert Unit.IMAGE_INPUT_TOKENS in prompt.units
    assert blamed(EMBED_PATH, {"requests": [{"content": PICTURE}]}, ModelLimits()) == (
        "requests[0].content.parts[0]"
    )


@pytest.mark.parametrize(
    ("body", "images"),
    [
        ({"instances": [{}]}, 4),
        ({"instances": [{}], "parameters": {"sampleCount": 1}}, 1),
        ({"instances": [{}, {}], "parameters": {"sample_count": 3}}, 6),
        ({}, 4),
    ],
)
def test_images_are_bounded_by_how_many_are_asked_for(body: object, images: int) -> None:
    assert bounded(IMAGEN_PATH, body, ModelLimits()) == (Ceiling(images, (Unit.IMAGES,)),)


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"instances": [{}], "parameters": {"sampleCount": 2, "durationSeconds": 6}}, 12),
        ({"instances": [{}], "parameters": {"sampleCount": 1, "durationSeconds": "5"}}, 5),
        ({"instances": [{}], "parameters": {"sampleCount": 1}}, 8),
        # How many videos there are by default is not known for certain: at most four.
        ({"instances": [{}], "parameters": {"durationSeconds": 4}}, 16),
    ],
)
def test_videos_are_bounded_by_their_seconds(body: object, seconds: int) -> None:
    assert bounded(VEO_PATH, body, ModelLimits()) == (Ceiling(seconds * 1_000, (Unit.VIDEO_SECONDS,)),)


@pytest.mark.parametrize(
    ("path", "parameters", "field"),
    [
        (IMAGEN_PATH, {"sampleCount": 0}, "parameters.sampleCount"),
        (IMAGEN_PATH, {"sampleCount": -1}, "parameters.sampleCount"),
        (IMAGEN_PATH, {"sampleCount": 1.5}, "parameters.sampleCount"),
        (IMAGEN_PATH, {"sampleCount": 100_000}, "parameters.sampleCount"),
        (VEO_PATH, {"sampleCount": "many"}, "parameters.sampleCount"),
        (VEO_PATH, {"durationSeconds": 0}, "parameters.durationSeconds"),
        (VEO_PATH, {"durationSeconds": True}, "parameters.durationSeconds"),
    ],
)
def test_a_number_that_cannot_be_counted_with_is_refused(
    path: str, parameters: dict[str, object], field: str
) -> None:
    assert read_of(path, orjson.dumps({"instances": [{}], "parameters": parameters})) == invalid_field(field)


@pytest.mark.parametrize(
    "path", [EMBED_PATH, IMAGEN_PATH, VEO_PATH, INTERACTIONS_PATH, CACHES_PATH, SHIM_PATH]
)
def test_a_body_that_is_no_object_is_refused(path: str) -> None:
    assert read_of(path, b"[]") == invalid_json()


@pytest.mark.parametrize("path", [INTERACTIONS_PATH, CACHES_PATH, SHIM_PATH, "/v1beta/openai/embeddings"])
def test_a_body_without_a_model_is_refused(path: str) -> None:
    assert read_of(path, b"{}") == invalid_field("model")


def interaction(**fields: Any) -> dict[str, Any]:
    return {"model": "gemini-3-pro", "input": "Hello", **fields}


def test_an_interaction_is_bounded_by_its_text_and_its_cap() -> None:
    config = {"max_output_tokens": 50}
    prompt, output = bounded(INTERACTIONS_PATH, interaction(generation_config=config))

    assert 90 < prompt.amount < 200
    assert output == Ceiling(50, (Unit.OUTPUT_TOKENS,))
    assert bounded(INTERACTIONS_PATH, interaction())[1].amount == 8_000


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"previous_interaction_id": "x"}, "previous_interaction_id"),
        ({"input": {"type": "image", "uri": "https://x"}}, "input[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "video"}]}]},
            "input[0].content[1]",
        ),
    ],
)
def test_what_an_interaction_refers_to_is_bounded_by_the_window(fields: dict[str, Any], field: str) -> None:
    prompt = bounded(INTERACTIONS_PATH, interaction(**fields))[0]

    assert prompt.amount == 1_000_000
    assert Unit.VIDEO_INPUT_TOKENS in prompt.units
    assert blamed(INTERACTIONS_PATH, interaction(**fields), ModelLimits(None, 10)) == field


def test_texts_and_results_of_functions_are_text() -> None:
    steps = [
        {"type": "user_input", "content": [{"type": "text", "text": "a"}]},
        {"type": "function_call", "name": "f"},
        {"role": "user", "content": {"type": "function_result", "result": "b"}},
        {"type": "thought", "signature": "c"},
    ]
    tools = [{"type": "function", "name": "f"}]

    assert bounded(INTERACTIONS_PATH, interaction(input=steps, tools=tools))[0].amount < 3_000


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tools": [{"type": "function"}, {"type": "google_search"}]}, "tools[1].type"),
        ({"model": None, "agent": "deep-research"}, "agent"),
    ],
)
def test_what_runs_uncountably_often_is_named(fields: dict[str, Any], field: str) -> None:
    assert blamed(INTERACTIONS_PATH, interaction(**fields)) == field


def cache(**fields: Any) -> dict[str, Any]:
    return {"model": "models/gemini-2.5-flash", "contents": [TEXT], **fields}


def test_a_cache_is_bounded_by_its_text_for_as_long_as_it_lives() -> None:
    size = len(orjson.dumps(cache(ttl="7200s")))

    assert bounded(CACHES_PATH, cache(ttl="7200s")) == (
        Ceiling(size * 2 * 1_000_000, (Unit.CACHED_TOKEN_HOURS,)),
    )
    hour = len(orjson.dumps(cache()))
    assert bounded(CACHES_PATH, cache())[0].amount == hour * 1_000_000
    assert bounded(CACHES_PATH, cache(ttl="0.5s"))[0].amount > 0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"expireTime": "2027-01-01T00:00:00Z"}, "expireTime"),
        ({"contents": [PICTURE]}, "contents[0].parts[0]"),
        ({"systemInstruction": {"parts": [{"fileData": {"fileUri": "x"}}]}}, "systemInstruction.parts[0]"),
    ],
)
def test_what_leaves_a_cache_without_a_bound_is_named(fields: dict[str, Any], field: str) -> None:
    assert blamed(CACHES_PATH, cache(**fields)) == field


@pytest.mark.parametrize("ttl", ["1h", "s", "-5s", 300, "9" * 30 + "s"])
def test_a_life_that_is_no_duration_is_refused(ttl: object) -> None:
    assert read_of(CACHES_PATH, orjson.dumps(cache(ttl=ttl))) == invalid_field("ttl")


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "models/gemini-2.5-pro", "messages": [], "max_tokens": 5, **fields}


def test_a_chat_of_the_shim_has_googles_name_and_units() -> None:
    call = call_of(SHIM_PATH, chat())
    prompt, output = bounded(SHIM_PATH, chat())

    assert (call.provider, call.model, call.body) == ("google", "gemini-2.5-pro", orjson.dumps(chat()))
    assert prompt.units == (Unit.INPUT_TOKENS, Unit.CACHE_READ_TOKENS)
    assert output.amount == 5


def test_a_stream_of_the_shim_is_made_to_report_usage_as_any_chat_is() -> None:
    assert call_of(SHIM_PATH, chat(stream=True)).usage_added


def test_a_cache_that_the_shim_names_is_bounded_by_the_window() -> None:
    extra = {"google": {"cached_content": "cachedContents/x"}}

    assert bounded(SHIM_PATH, chat(extra_body=extra))[0].amount == 1_000_000
    assert bounded(SHIM_PATH, chat(extra_body={"google": {"thinking_config": {}}}))[0].amount < 1_000


def test_images_of_the_shim_are_one_unless_more_are_asked_for() -> None:
    path, body = "/v1beta/openai/images/generations", {"model": "imagen-4.0-generate-001", "prompt": "a cat"}

    assert bounded(path, body, ModelLimits()) == (Ceiling(1, (Unit.IMAGES,)),)
    assert bounded(path, {**body, "n": 3}, ModelLimits()) == (Ceiling(3, (Unit.IMAGES,)),)


@pytest.mark.parametrize(
    "path", [GENERATE_PATH, EMBED_PATH, IMAGEN_PATH, VEO_PATH, INTERACTIONS_PATH, CACHES_PATH]
)
def test_a_request_to_gemini_is_sent_byte_for_byte(path: str) -> None:
    body = b'{ "model":"m" , "stream":true, "contents": [], "input":"\\u2028", "n":1e2 }\n'
    call = call_of(path, body)

    assert call.body is body
    assert not call.usage_added
    assert call.billable
