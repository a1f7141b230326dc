from __future__ import annotations

import base64
import json
import os
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_proxy.call.bound import (
    MESSAGE_OVERHEAD_TOKENS,
    TOOL_OVERHEAD_TOKENS,
    Bound,
    Ceiling,
    ModelLimits,
    Unbounded,
    bound,
)
from om_proxy.metering.usage import Unit
from tests.proxy.exchange import CHAT_PATH, GENERATE_PATH, MESSAGES_PATH, call_of

LIMITS = ModelLimits(context_window=200_000, max_output=8_000, image_tokens_max=1_600)
PICTURE = base64.b64encode(os.urandom(30_000)).decode()


def bounded(path: str, body: object, limits: ModelLimits = LIMITS) -> Bound:
    answer = bound(call_of(path, body), limits)
    assert isinstance(answer, Bound), answer
    return answer


def prompt(path: str, body: object, limits: ModelLimits = LIMITS) -> int:
    return bounded(path, body, limits).ceilings[0].amount


def output(path: str, body: object, limits: ModelLimits = LIMITS) -> int:
    return bounded(path, body, limits).ceilings[1].amount


def blamed(path: str, body: object, limits: ModelLimits = LIMITS) -> str:
    answer = bound(call_of(path, body), limits)
    assert isinstance(answer, Unbounded), answer
    return answer.field


def chat(*content: object, **fields: object) -> dict[str, object]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": list(content)}], **fields}


def message(*content: object, **fields: object) -> dict[str, object]:
    messages = [{"role": "user", "content": list(content)}]
    return {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": messages, **fields}


def contents(*parts: object, **fields: object) -> dict[str, object]:
    return {"contents": [{"role": "user", "parts": list(parts)}], **fields}


@given(text=st.text(), ascii_only=st.booleans())
def test_the_prompt_is_never_less_than_the_bytes_of_its_text(text: str, *, ascii_only: bool) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return
    body = json.dumps(chat({"type": "text", "text": text}), ensure_ascii=ascii_only).encode()

    assert size + MESSAGE_OVERHEAD_TOKENS <= prompt(CHAT_PATH, body) <= 3 * size + 200


def test_escapes_do_not_blow_the_bound_up() -> None:
    text = "模拟器" * 1_000
    plain = orjson.dumps(chat({"type": "text", "text": text}))
    escaped = text.encode("unicode_escape")
    body = plain.replace(text.encode(), escaped)

    assert len(body) > len(plain)
    assert prompt(CHAT_PATH, body) == prompt(CHAT_PATH, plain)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT_PATH, chat({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}})),
        (
            MESSAGES_PATH,
            message(
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
            ),
        ),
        (
            MESSAGES_PATH,
            message(
                {
                    "type": "tool_result",
                    "content": [{"type": "image", "source": {"type": "base64", "data": PICTURE}}],
                }
            ),
        ),
        (GENERATE_PATH, contents({"inlineData": {"mimeType": "image/png", "data": PICTURE}})),
        (GENERATE_PATH, contents({"inline_data": {"mime_type": "image/png", "data": PICTURE}})),
    ],
)
def test_an_image_counts_as_its_maximum_and_not_as_its_bytes(path: str, body: object) -> None:
    assert 1_600 < prompt(path, body) < 2_200
    assert prompt(path, body, ModelLimits(200_000, 8_000)) == 200_000
    assert "[0]" in blamed(path, body, ModelLimits(None, 8_000))


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (
            CHAT_PATH,
            chat({"type": "input_audio", "input_audio": {"data": PICTURE}}),
            "messages[0].content[0]",
        ),
        (CHAT_PATH, chat({"type": "file", "file": {"file_id": "f"}}), "messages[0].content[0]"),
        (CHAT_PATH, chat({"type": "hologram"}), "messages[0].content[0]"),
        (
            CHAT_PATH,
            {"model": "m", "messages": [{"role": "assistant", "audio": {"id": "a"}}]},
            "messages[0].audio",
        ),
        (CHAT_PATH, chat(web_search_options={}), "web_search_options"),
        (
            MESSAGES_PATH,
            message({"type": "document", "source": {"type": "url", "url": "https://x"}}),
            "messages[0].content[0].source",
        ),
        (
            MESSAGES_PATH,
            message({"type": "document", "source": {"type": "base64", "data": PICTURE}}),
            "messages[0].content[0].source",
        ),
        (MESSAGES_PATH, message({"type": "container_upload", "file_id": "f"}), "messages[0].content[0]"),
        (GENERATE_PATH, contents({"fileData": {"fileUri": "gs://x"}}), "contents[0].parts[0]"),
        (
            GENERATE_PATH,
            contents({"inlineData": {"mimeType": "video/mp4", "data": "x"}}),
            "contents[0].parts[0]",
        ),
        (
            GENERATE_PATH,
            contents(systemInstruction={"parts": {"file_data": {"file_uri": "x"}}}),
            "systemInstruction.parts[0]",
        ),
        (GENERATE_PATH, contents(cachedContent="cachedContents/x"), "cachedContent"),
        (GENERATE_PATH, contents(cached_content="cachedContents/x"), "cachedContent"),
    ],
)
def test_what_is_not_in_the_body_is_bounded_by_the_window(path: str, body: object, field: str) -> None:
    assert prompt(path, body) == 200_000
    assert blamed(path, body, ModelLimits(None, 8_000)) == field


def test_text_inside_of_documents_and_tool_results_is_text() -> None:
    body = message(
        {"type": "document", "source": {"type": "text", "data": "x" * 100}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "y"}]}},
        {"type": "tool_result", "content": "plain"},
        {"type": "web_search_tool_result", "content": [{"type": "web_search_result"}]},
    )

    assert prompt(MESSAGES_PATH, body) < 1_000


@pytest.mark.parametrize(
    ("path", "body", "most"),
    [
        (CHAT_PATH, chat(max_completion_tokens=50, n=3), 150),
        (CHAT_PATH, chat(max_tokens=50, max_completion_tokens=70), 70),
        (CHAT_PATH, chat(), 8_000),
        (CHAT_PATH, chat(max_tokens=None, n=2), 16_000),
        (CHAT_PATH, chat(max_tokens="50"), 8_000),
        (CHAT_PATH, chat(max_tokens=True), 8_000),
        (CHAT_PATH, chat(max_tokens=-1, n=0), 8_000),
        (CHAT_PATH, chat(max_tokens=100_000), 100_000),
        (
            CHAT_PATH,
            chat(max_tokens=50, prediction={"content": "abcdefg"}),
            50 + len('{"content":"abcdefg"}'),
        ),
        (MESSAGES_PATH, message(), 100),
        (MESSAGES_PATH, message(max_tokens=0), 0),
        (GENERATE_PATH, contents(generationConfig={"maxOutputTokens": 40, "candidateCount": 2}), 80),
        (GENERATE_PATH, contents(generation_config={"max_output_tokens": "40"}), 40),
        (GENERATE_PATH, contents(), 8_000),
    ],
)
def test_output_is_the_cap_times_the_choices_or_else_the_models_maximum(
    path: str, body: object, most: int
) -> None:
    assert output(path, body) == most


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (CHAT_PATH, chat(), "max_completion_tokens"),
        (MESSAGES_PATH, {"model": "m", "messages": []}, "max_tokens"),
        (GENERATE_PATH, contents(), "generationConfig.maxOutputTokens"),
    ],
)
def test_without_a_cap_and_a_known_maximum_the_missing_cap_is_named(
    path: str, body: object, field: str
) -> None:
    assert blamed(path, body, ModelLimits(200_000)) == field


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (MESSAGES_PATH, message(tools=[{"name": "f"}, {"type": "web_search_20250305"}]), "tools[1].max_uses"),
        (
            MESSAGES_PATH,
            message(tools=[{"type": "web_fetch_20250910", "max_uses": "2"}]),
            "tools[0].max_uses",
        ),
        (MESSAGES_PATH, message(tools=[{"type": "advisor_20260301", "model": "x"}]), "tools[0].max_uses"),
        (MESSAGES_PATH, message(tools=[{"type": "advisor_20260301", "max_uses": 2}]), "tools[0].model"),
        (MESSAGES_PATH, message(tools=[{"type": "code_execution_20250522"}]), "tools[0].type"),
        (MESSAGES_PATH, message(mcp_servers=[{"url": "https://x"}]), "mcp_servers"),
        (MESSAGES_PATH, message(fallbacks=[{"model": "x"}, {}]), "fallbacks[1]"),
        (MESSAGES_PATH, message(fallbacks="default"), "fallbacks"),
        (
            MESSAGES_PATH,
            message(context_management={"edits": [{"type": "clear_thinking"}, {"type": "shorten_2027"}]}),
            "context_management.edits[1]",
        ),
        (
            MESSAGES_PATH,
            message(context_management={"edits": [{"type": "compact_20260112", "model": "x"}]}),
            "context_management.edits[0]",
        ),
        (GENERATE_PATH, contents(tools=[{"googleSearch": {}}]), "tools[0].googleSearch"),
        (
            GENERATE_PATH,
            contents(tools=[{"functionDeclarations": []}, {"url_context": {}}]),
            "tools[1].url_context",
        ),
    ],
)
def test_what_nothing_bounds_is_named(path: str, body: object, field: str) -> None:
    assert blamed(path, body) == field


def test_a_tool_at_the_provider_reads_the_window_again_for_each_use() -> None:
    tools = [{"type": "web_search_20250305", "max_uses": 3}, {"type": "web_fetch_20250910", "max_uses": 2}]
    ceilings = bounded(MESSAGES_PATH, message(tools=tools)).ceilings

    assert ceilings[0].amount == 200_000 * 6
    assert ceilings[2] == Ceiling(3, (Unit.WEB_SEARCHES,))
    assert blamed(MESSAGES_PATH, message(tools=tools), ModelLimits(None, 1)) == "tools"


def test_tools_of_the_client_cost_their_definition_and_a_preamble() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    more = prompt(CHAT_PATH, chat(tools=tools)) - prompt(CHAT_PATH, chat())

    assert more == 2 * TOOL_OVERHEAD_TOKENS + len(orjson.dumps(tools)) + len(',"tools":')


@pytest.mark.parametrize(
    ("path", "body", "units"),
    [
        (CHAT_PATH, chat(), {"input_tokens", "cache_read_tokens", "cache_write_tokens"}),
        (MESSAGES_PATH, message(), {"input_tokens"}),
        (
            MESSAGES_PATH,
            message(cache_control={"type": "ephemeral"}),
            {"input_tokens", "cache_read_tokens", "cache_write_5m_tokens"},
        ),
        (
            MESSAGES_PATH,
            message(cache_control={"type": "ephemeral", "ttl": "1h"}),
            {"input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"},
        ),
        (
            MESSAGES_PATH,
            b'{"model":"m","max_tokens":1,"cache\\u005fcontrol":{"ttl":"\\u0031h"},"messages":[]}',
            {"input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"},
        ),
        (GENERATE_PATH, contents(), {"input_tokens", "cache_read_tokens"}),
        (
            GENERATE_PATH,
            contents({"inlineData": {"mimeType": "audio/wav", "data": "x"}}),
            {"input_tokens", "cache_read_tokens"}
            | {
                f"{kind}_{use}_tokens"
                for kind in ("audio", "image", "video")
                for use in ("input", "cache_read")
            },
        ),
        (
            GENERATE_PATH,
            contents({"inlineData": {"mimeType": "image/png", "data": "x"}}),
            {"input_tokens", "cache_read_tokens", "image_input_tokens", "image_cache_read_tokens"},
        ),
        (
            CHAT_PATH,
            chat(
                {"type": "image_url", "image_url": {"url": "https://x"}},
                {"type": "input_audio", "input_audio": {"data": "x"}},
                prompt_cache_options={"ttl": "12h"},
            ),
            {
                "input_tokens",
                "cache_read_tokens",
                "cache_write_tokens",
                "cache_write_12h_tokens",
                "audio_input_tokens",
                "image_input_tokens",
            },
        ),
    ],
)
def test_the_prompt_may_be_charged_as_any_of_these(path: str, body: Any, units: set[str]) -> None:
    ceiling = bounded(path, body).ceilings[0]

    assert set(ceiling.units) == units
    assert ceiling.units[0] is Unit.INPUT_TOKENS


@pytest.mark.parametrize(
    ("path", "body", "units"),
    [
        (CHAT_PATH, chat(modalities=["text", "audio"]), (Unit.OUTPUT_TOKENS, Unit.AUDIO_OUTPUT_TOKENS)),
        (
            GENERATE_PATH,
            contents(generationConfig={"responseModalities": ["TEXT", "Image"]}),
            (Unit.OUTPUT_TOKENS, Unit.IMAGE_OUTPUT_TOKENS),
        ),
    ],
)
def test_output_may_be_of_other_modalities(path: str, body: object, units: tuple[Unit, ...]) -> None:
    assert bounded(path, body).ceilings[1].units == units


PRICED = Bound(
    "anthropic",
    "m",
    (
        Ceiling(1_000, (Unit.INPUT_TOKENS, Unit.CACHE_READ_TOKENS, Unit.CACHE_WRITE_5M_TOKENS)),
        Ceiling(10, (Unit.OUTPUT_TOKENS,)),
    ),
)


RATES = {
    "input_tokens": 3_000,
    "cache_read_tokens": 300,
    "cache_write_5m_tokens": 3_750,
    "output_tokens": 15_001,
}


def test_each_ceiling_costs_its_dearest_unit_rounded_up_once() -> None:
    assert PRICED.nanos(RATES) == 4  # (1,000 x 3,750 + 10 x 15,001) / 1,000,000 is 3.90001.
    assert PRICED.nanos(dict.fromkeys(RATES, 0)) == 0


@pytest.mark.parametrize("unit", RATES)
def test_a_missing_rate_is_an_unknown_price_and_not_a_free_one(unit: str) -> None:
    assert PRICED.nanos({name: rate for name, rate in RATES.items() if name != unit}) is None


def test_units_that_share_a_ceiling_each_may_take_all_of_it() -> None:
    assert PRICED.per_unit() == {
        Unit.INPUT_TOKENS: 1_000,
        Unit.CACHE_READ_TOKENS: 1_000,
        Unit.CACHE_WRITE_5M_TOKENS: 1_000,
        Unit.OUTPUT_TOKENS: 10,
    }


BY_TOKEN = (Ceiling(100, (Unit.INPUT_TOKENS,)), Ceiling(10, (Unit.IMAGE_OUTPUT_TOKENS,)))
BY_PIECE = (Ceiling(3, (Unit.IMAGES,)),)


@pytest.mark.parametrize(
    ("rates", "steps"),
    [
        ({"input_tokens": 1, "image_output_tokens": 40}, 500),
        ({"images": 90}, 270),
        ({"input_tokens": 1, "image_output_tokens": 40, "images": 90}, 500),
        ({"input_tokens": 1, "image_output_tokens": 4, "images": 90}, 270),
        # A price for half of the tokens is none.
        ({"input_tokens": 1, "images": 90}, 270),
        ({"input_tokens": 1}, None),
        ({}, None),
    ],
)
def test_a_model_is_bounded_in_the_way_in_which_it_is_charged(
    rates: dict[str, int], steps: int | None
) -> None:
    limit = Bound("openai", "m", BY_TOKEN, BY_PIECE)

    assert limit.nanos({unit: rate * 1_000_000 for unit, rate in rates.items()}) == steps


def test_both_ways_of_charging_count_for_limits() -> None:
    assert Bound("openai", "m", BY_TOKEN, BY_PIECE).per_unit() == {
        Unit.INPUT_TOKENS: 100,
        Unit.IMAGE_OUTPUT_TOKENS: 10,
        Unit.IMAGES: 3,
    }
