from __future__ import annotations

import orjson
import pytest

from om_proxy.providers.sandbox import Reply
from tests.proxy.providers.sandbox.asking import (
    CHAT,
    GENERATE,
    HEADERS,
    KEY,
    MESSAGES,
    STREAM,
    chat,
    error,
    events,
    generate,
    message,
    send,
)

BEARER = {"authorization": f"Bearer {KEY}"}
ANTHROPIC = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
GOOGLE = {"x-goog-api-key": KEY}


@pytest.mark.parametrize(
    ("path", "headers", "owner"),
    [
        ("/v1/models", BEARER, "openai"),
        ("/v1/models", ANTHROPIC, "anthropic"),
        ("/v1/models", BEARER | {"anthropic-version": "2026-10-21"}, "anthropic"),
        ("/v1/models", GOOGLE, "gemini"),
        ("/v1/models?key", {}, "gemini"),
        ("/v1beta/models", GOOGLE, "gemini"),
        ("/v1beta/models", HEADERS, "gemini"),
    ],
)
def test_a_list_of_models_is_that_of_the_provider_whose_marks_the_request_has(
    path: str, headers: dict[str, str], owner: str
) -> None:
    path, _, query = path.partition("?")
    listing = orjson.loads(
        send(path, b"", method="GET", headers=headers, query=dict.fromkeys([query], KEY)).body
    )

    owners = {
        "openai": listing.get("object") == "list",
        "anthropic": "has_more" in listing,
        "gemini": "models" in listing,
    }
    assert [name for name, owns in owners.items() if owns] == [owner]


@pytest.mark.parametrize(
    ("path", "headers", "marks"),
    [
        ("/v1/models/gpt-x", BEARER, {"id": "gpt-x", "object": "model"}),
        ("/v1/models/ft:gpt-4o:org::id", BEARER, {"id": "ft:gpt-4o:org::id"}),
        ("/v1/models/claude-x", ANTHROPIC, {"id": "claude-x", "type": "model"}),
        ("/v1beta/models/gemini-x", GOOGLE, {"name": "models/gemini-x"}),
    ],
)
def test_any_model_exists(path: str, headers: dict[str, str], marks: dict[str, str]) -> None:
    model = orjson.loads(send(path, b"", method="GET", headers=headers).body)

    assert marks.items() <= model.items()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/models/missing-x", BEARER),
        ("/v1/models/missing-x", ANTHROPIC),
        ("/v1beta/models/missing-x", GOOGLE),
        ("/v1beta/tunedModels/missing-x:generateContent", GOOGLE),
    ],
)
def test_a_missing_model_is_a_404(path: str, headers: dict[str, str]) -> None:
    method = "POST" if ":" in path else "GET"

    assert send(path, {"contents": []}, method=method, headers=headers).status == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/chat/completions",
        "/openai/v1/chat/completions",
        "/api/v1/chat/completions",
        "/openai/deployments/mine/chat/completions",
        "/v1beta/openai/chat/completions",
    ],
)
def test_chat_is_found_where_compatible_providers_have_it(path: str) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}

    assert "choices" in orjson.loads(send(path, body, headers=BEARER).body)


def test_azure_s_header_is_a_key_too() -> None:
    path = "/openai/deployments/mine/chat/completions"
    body = {"model": "x", "messages": []}

    assert send(path, body, headers={"api-key": KEY}).status == 200
    assert send(path, body, headers={"api-key": "invalid"}).status == 401


def test_an_address_is_the_providers_whatever_the_headers_say() -> None:
    assert "choices" in orjson.loads(chat().body)
    assert "content" in orjson.loads(message().body)
    assert "candidates" in orjson.loads(generate().body)
    assert "candidates" in orjson.loads(generate(path="/v1/models/gemini-x:generateContent").body)
    assert "candidates" in orjson.loads(generate(path="/v1beta/tunedModels/mine:generateContent").body)


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("POST", "/v1/fancies", BEARER, ("type", "invalid_request_error")),
        ("GET", CHAT, BEARER, ("message", "Invalid URL (GET /v1/chat/completions)")),
        ("POST", "/v1/fancies", ANTHROPIC, ("type", "not_found_error")),
        ("GET", MESSAGES, ANTHROPIC, ("type", "not_found_error")),
        ("POST", "/v1beta/fancies", GOOGLE, ("status", "NOT_FOUND")),
        ("POST", "/v1beta/models/gemini-x:fancy", GOOGLE, ("status", "NOT_FOUND")),
        ("GET", GENERATE, GOOGLE, ("status", "NOT_FOUND")),
        # An unknown address is unknown with or without a key.
        ("POST", "/v1/fancies", {}, ("type", "invalid_request_error")),
    ],
)
def test_an_unknown_address_is_a_404_in_the_providers_shape(
    method: str, path: str, headers: dict[str, str], expected: tuple[str, str]
) -> None:
    reply = send(path, b"{}", method=method, headers=headers)

    field, value = expected
    assert (reply.status, error(reply)[field]) == (404, value)


@pytest.mark.parametrize(
    ("path", "headers", "status", "expected"),
    [
        (CHAT, {}, 401, ("code", None)),
        (CHAT, {"authorization": "Basic abc"}, 401, ("code", None)),
        (CHAT, {"x-api-key": KEY}, 401, ("code", None)),
        (CHAT, {"authorization": "Bearer invalid"}, 401, ("code", "invalid_api_key")),
        (MESSAGES, {"anthropic-version": "1"}, 401, ("message", "x-api-key header is required")),
        (MESSAGES, ANTHROPIC | {"x-api-key": "invalid"}, 401, ("message", "invalid x-api-key")),
        (MESSAGES, {"authorization": "Bearer invalid"}, 401, ("type", "authentication_error")),
        (MESSAGES, {"x-api-key": KEY}, 400, ("message", "anthropic-version: header is required")),
        (GENERATE, {}, 403, ("status", "PERMISSION_DENIED")),
        (GENERATE, {"x-api-key": KEY}, 403, ("status", "PERMISSION_DENIED")),
        (GENERATE, {"x-goog-api-key": "invalid"}, 400, ("status", "INVALID_ARGUMENT")),
    ],
)
def test_a_missing_or_wrong_key_is_refused_as_each_provider_does(
    path: str, headers: dict[str, str], status: int, expected: tuple[str, str | None]
) -> None:
    reply = send(path, b"{}", headers=headers)

    field, value = expected
    assert (reply.status, error(reply)[field]) == (status, value)


def test_a_wrong_gemini_key_is_told_by_its_reason() -> None:
    reply = send(GENERATE, b"{}", headers={}, query={"key": "invalid"})

    assert error(reply)["details"][0]["reason"] == "API_KEY_INVALID"


@pytest.mark.parametrize(
    ("path", "headers", "query"),
    [
        (CHAT, BEARER, {}),
        (MESSAGES, ANTHROPIC, {}),
        (MESSAGES, BEARER | {"anthropic-version": "2026-10-21"}, {}),
        (GENERATE, GOOGLE, {}),
        (GENERATE, BEARER, {}),
        (GENERATE, {}, {"key": KEY}),
    ],
)
def test_a_key_is_taken_wherever_a_client_may_put_it(
    path: str, headers: dict[str, str], query: dict[str, str]
) -> None:
    # The body is looked at only behind the key.
    assert "JSON" in error(send(path, b"{", headers=headers, query=query))["message"]


@pytest.mark.parametrize("ask", [chat, message, generate])
def test_an_unknown_directive_is_refused_by_name(ask: object) -> None:
    reply = ask("colour=1")  # type: ignore[operator]  # The three take the directives first.

    assert reply.status == 400
    assert "'colour'" in error(reply)["message"]


@pytest.mark.parametrize(
    ("status", "openai", "anthropic", "gemini"),
    [
        (400, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
        (401, "invalid_request_error", "authentication_error", "UNAUTHENTICATED"),
        (402, "insufficient_quota", "billing_error", "UNKNOWN"),
        (403, "request_forbidden", "permission_error", "PERMISSION_DENIED"),
        (404, "invalid_request_error", "not_found_error", "NOT_FOUND"),
        (429, "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
        (500, "server_error", "api_error", "INTERNAL"),
        (502, "server_error", "api_error", "UNKNOWN"),
        (503, "server_error", "api_error", "UNAVAILABLE"),
        (504, "server_error", "timeout_error", "DEADLINE_EXCEEDED"),
        (529, "server_error", "overloaded_error", "UNKNOWN"),
    ],
)
def test_an_error_on_demand_has_the_providers_shape(
    status: int, openai: str, anthropic: str, gemini: str
) -> None:
    sim = f"error={status}"
    replies = [chat(sim), message(sim), generate(sim)]

    assert [reply.status for reply in replies] == [status] * 3
    assert error(replies[0])["type"] == openai
    assert error(replies[0]).keys() == {"message", "type", "param", "code"}
    assert error(replies[1])["type"] == anthropic
    assert orjson.loads(replies[1].body)["type"] == "error"
    assert (error(replies[2])["status"], error(replies[2])["code"]) == (gemini, status)


def test_an_error_comes_before_a_stream_begins() -> None:
    reply = chat("error=503", stream=True)

    assert (reply.streamed, header(reply, "content-type")) == (False, ["application/json"])


def test_an_empty_account_is_an_error_of_another_type() -> None:
    reply = chat("error=429; error_code=credit_balance_exhausted")

    assert (error(reply)["type"], error(reply)["code"]) == ("insufficient_quota", "credit_balance_exhausted")


def test_a_code_stands_where_each_provider_has_it() -> None:
    sim = "error=429; error_code=spent"

    assert error(message(sim))["details"] == {"error_code": "spent"}
    assert error(generate(sim))["details"][0]["reason"] == "spent"


def test_a_rate_limit_says_when_to_come_again() -> None:
    sim = "error=429; retry_after=37"

    assert header(chat(sim), "retry-after") == ["37"]
    assert header(chat(sim), "retry-after-ms") == ["37000"]
    assert header(chat(sim), "x-ratelimit-remaining-requests") == ["0"]
    assert header(message(sim), "retry-after") == ["37"]
    assert header(message(sim), "anthropic-ratelimit-requests-remaining") == ["0"]
    # Gemini has no header for it.
    assert header(generate(sim), "retry-after") == []
    assert error(generate(sim))["details"][-1]["retryDelay"] == "37s"


def test_an_answer_can_have_a_retry_after_without_being_an_error() -> None:
    reply = message("retry_after=5")

    assert (reply.status, header(reply, "retry-after")) == (200, ["5"])
    assert header(message(), "retry-after") == []


def test_anthropic_says_which_errors_are_worth_another_try() -> None:
    assert header(message("error=529"), "x-should-retry") == ["true"]
    assert header(message("error=400"), "x-should-retry") == ["false"]


def test_each_provider_has_its_own_headers() -> None:
    assert header(chat(), "x-request-id")[0].startswith("req_")
    assert len(header(chat(), "set-cookie")) == 2
    assert header(message(), "request-id") == [orjson.loads(message("error=500").body)["request_id"]]
    assert header(message(), "anthropic-ratelimit-tokens-reset") == ["2025-11-21T01:53:21Z"]
    assert not [name for name, _ in generate().headers if "request-id" in name or "ratelimit" in name]


@pytest.mark.parametrize(
    "reply",
    [
        chat("error=401"),
        message("error=401"),
        generate("error=401"),
        chat("colour=1"),
        chat(model="missing-model"),
        send("/v1/fancies", b"{}"),
        send(CHAT, KEY.encode()),
    ],
)
def test_no_error_repeats_a_key(reply: Reply) -> None:
    assert KEY.encode() not in reply.body
    assert KEY not in str(reply.headers)


def test_a_stream_can_break_with_the_providers_own_error_event() -> None:
    openai = chat("error_after=3", stream=True)
    anthropic = message("error_after=3", stream=True)
    gemini = generate("error_after=3", path=STREAM)

    assert [len(reply.frames) for reply in (openai, anthropic, gemini)] == [4, 4, 4]
    assert events(openai)[-1]["error"]["type"] == "server_error"
    assert b"[DONE]" not in openai.body
    assert anthropic.frames[-1].startswith(b"event: error\ndata: ")
    assert events(anthropic)[-1]["error"]["type"] == "overloaded_error"
    # SDKs fail on a code that is not an integer.
    assert events(gemini)[-1]["error"]["code"] == 503


def test_an_array_that_breaks_is_still_json() -> None:
    array = orjson.loads(generate("error_after=2", path=STREAM, alt="").body)

    assert [next(iter(item)) for item in array] == ["candidates", "candidates", "error"]


def test_an_array_can_break_before_it_has_begun() -> None:
    assert orjson.loads(generate("error_after=0", path=STREAM, alt="").body)[0]["error"]["code"] == 503


def test_an_error_never_comes_behind_the_end() -> None:
    assert events(chat("error_after=999", stream=True))[-1]["error"]["type"] == "server_error"
    assert "error" in orjson.loads(generate("error_after=999", path=STREAM, alt="").body)[-1]


def test_a_plain_answer_has_no_middle_to_break_in() -> None:
    assert chat("error_after=0").body == chat("clean_end_after=0").body == chat().body


def test_a_stream_can_end_early_as_if_all_were_well() -> None:
    whole = message(stream=True)

    assert message("clean_end_after=4", stream=True).frames == whole.frames[:4]


def header(reply: Reply, name: str) -> list[str]:
    return [value for other, value in reply.headers if other == name]
