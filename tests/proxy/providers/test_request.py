from __future__ import annotations

import orjson
import pytest

from om_proxy.refusals.problem import invalid_field, invalid_json
from tests.proxy.exchange import CHAT_PATH, GENERATE_PATH, MESSAGES_PATH, STREAM_PATH, call_of, read_of

PATHS = [CHAT_PATH, MESSAGES_PATH, GENERATE_PATH, STREAM_PATH]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"a":NaN}',
        b'{"a":"\\ud800"}',
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_object_is_refused(path: str, body: bytes) -> None:
    assert read_of(path, body) == invalid_json()


@pytest.mark.parametrize("path", [CHAT_PATH, MESSAGES_PATH])
@pytest.mark.parametrize("model", [None, "", 7, "x" * 256, "a\nb"])
def test_a_body_without_a_usable_model_is_refused(path: str, model: object) -> None:
    assert read_of(path, orjson.dumps({"model": model, "messages": []})) == invalid_field("model")
    assert read_of(path, b"{}") == invalid_field("model")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "odd",
    [{"messages": 7, "contents": "x", "tools": {}}, {"messages": [1, None], "contents": [[]], "tools": [7]}],
)
def test_fields_of_another_type_are_the_providers_to_refuse(path: str, odd: dict[str, object]) -> None:
    body = orjson.dumps({"model": "m", **odd, "system": 1, "generationConfig": [], "systemInstruction": []})

    assert call_of(path, body).body == body


@pytest.mark.parametrize("path", [MESSAGES_PATH, GENERATE_PATH, STREAM_PATH])
def test_the_body_is_forwarded_as_it_came(path: str) -> None:
    body = b'{ "model":"m" , "stream":true, "n": 1.0, "big":12345678901234567890, "n":1e2, "t":"\\u2028" }\n'

    call = call_of(path, body)

    assert call.body is body
    assert not call.usage_added


def test_a_chat_stream_is_made_to_report_usage() -> None:
    body = b'{"model":"gpt-4o","stream":true,"messages":[]}'

    call = call_of(CHAT_PATH, body)

    assert (
        call.body == b'{"stream_options":{"include_usage":true},"model":"gpt-4o","stream":true,"messages":[]}'
    )
    assert call.usage_added
    # The edit is ours: it is not part of what the client is estimated for.
    assert call.demand.text_bytes == len(body)


@pytest.mark.parametrize(
    "options", [b"", b',"stream":false', b',"stream":true,"stream_options":{"include_usage":true}']
)
def test_a_chat_that_needs_no_edit_gets_none(options: bytes) -> None:
    body = b'{"model":"gpt-4o"' + options + b"}"

    assert call_of(CHAT_PATH, body).body is body
    assert not call_of(CHAT_PATH, body).usage_added


@pytest.mark.parametrize(
    ("path", "body", "stream"),
    [
        (CHAT_PATH, {"model": "m", "stream": True}, True),
        (CHAT_PATH, {"model": "m", "stream": "true"}, False),
        (MESSAGES_PATH, {"model": "m", "stream": True}, True),
        (MESSAGES_PATH, {"model": "m"}, False),
        (GENERATE_PATH, {"stream": True}, False),
        (STREAM_PATH, {}, True),
    ],
)
def test_the_body_or_the_verb_says_whether_it_streams(path: str, body: object, *, stream: bool) -> None:
    assert call_of(path, body).stream is stream


def test_the_model_is_the_paths_at_gemini_and_the_bodys_elsewhere() -> None:
    assert call_of(GENERATE_PATH, {"model": "models/other"}).model == "gemini-2.5-flash"
    assert call_of("/v1/models/models%2Fgemini-x:generateContent", {}).model == "gemini-x"
    assert call_of(CHAT_PATH, {"model": "ft:gpt-4o:org::id"}).model == "ft:gpt-4o:org::id"


@pytest.mark.parametrize(
    ("path", "body", "tier"),
    [
        (CHAT_PATH, {"model": "m", "service_tier": "flex"}, "flex"),
        (CHAT_PATH, {"model": "m", "service_tier": 7}, ""),
        (GENERATE_PATH, {"serviceTier": "PRIORITY"}, "priority"),
        (GENERATE_PATH, {"service_tier": "flex"}, "flex"),
        (MESSAGES_PATH, {"model": "m", "service_tier": "auto"}, ""),
    ],
)
def test_the_tier_that_is_asked_for_is_noted(path: str, body: object, tier: str) -> None:
    assert call_of(path, body).tier == tier
