"""Requests of the path-based dialect on their way to the provider, byte for byte."""

from __future__ import annotations

import asyncio
import gzip

import orjson
import pytest
from structlog.testing import capture_logs

from tests.proxy.gate import ANSWER, PLATFORM_KEY, PROVIDER_KEY, Gate, error_of, gate
from tests.proxy.raw_http import Exchange, Received

OPENAI = "/api/proxy/v1/openai/chat/completions"
ANTHROPIC = "/api/proxy/v1/anthropic/messages"
GEMINI = "/api/proxy/v1/gemini/models/gemini-2.5-flash:generateContent"
GROQ = "/api/proxy/v1/groq/chat/completions"
PATHS = (OPENAI, ANTHROPIC, GEMINI, GROQ)

CHAT = b'{"model":"gpt-4o","max_tokens":9,"messages":[{"role":"user","content":"Hi there"}]}'
TOLD = b'{"prompt_key":"document-summarizer","feature_tags":["summarization","documents"],"version":2}'
WITH_METADATA = CHAT[:-1] + b',"_aipromptcost":' + TOLD + b"}"
HEADERS = (f"Authorization: Bearer {PLATFORM_KEY}", f"X-Provider-Key: {PROVIDER_KEY}")
JSON = "Content-Type: application/json"
CREDENTIAL = {
    OPENAI: ("authorization", f"Bearer {PROVIDER_KEY}"),
    ANTHROPIC: ("x-api-key", PROVIDER_KEY),
    GEMINI: ("x-goog-api-key", PROVIDER_KEY),
    GROQ: ("authorization", f"Bearer {PROVIDER_KEY}"),
}


async def answers(exchange: Exchange) -> None:
    await exchange.answer(ANSWER)


async def ask(path: str = OPENAI, body: bytes = CHAT, *headers: str) -> tuple[Received, Gate]:
    async with gate(answers) as front:
        answer = await front.ask(path, body, *HEADERS, JSON, *headers)
    return answer, front


@pytest.mark.acceptance("B-133", "B-134", "B-136", "B-137", "B-138", "B-144", "B-150", "B-163")
@pytest.mark.parametrize("path", PATHS)
async def test_the_provider_gets_its_key_in_its_header_and_nothing_of_ours(path: str) -> None:
    answer, front = await ask(
        path, CHAT, "x-api-key: sk-of-the-sdk", "X-OM-Tags: a", "X-OM-Api-Key: om_live_other", "api-key: k"
    )

    assert (answer.status, answer.body) == (200, ANSWER)
    seen = front.provider.last
    name, value = CREDENTIAL[path]
    assert seen.named(name) == [value]
    assert seen.body == CHAT
    names = {name.lower() for name, _ in seen.headers}
    assert names - {"anthropic-version"} == {"host", name, "content-type", "content-length"}
    for secret in (PLATFORM_KEY, "om_live_other", "sk-of-the-sdk"):
        assert secret not in repr(seen.headers)


@pytest.mark.acceptance("B-151", "B-152", "B-153", "B-154", "B-155", "B-160")
@pytest.mark.parametrize("path", PATHS)
async def test_the_object_is_stripped_and_reaches_the_event(path: str) -> None:
    answer, front = await ask(path, WITH_METADATA)

    assert answer.status == 200
    assert front.provider.last.body == CHAT
    attribution = front.event.attribution
    assert (attribution.prompt_key, attribution.prompt_version) == ("document-summarizer", 2)
    assert list(attribution.tags) == ["summarization", "documents"]
    ((_, who),) = front.asked
    assert who.tags == ("summarization", "documents")
    assert (attribution.customer_id, attribution.user_id, attribution.feature_id) == ("", "", "")


@pytest.mark.acceptance("B-157")
async def test_without_a_prompt_it_is_unknown_and_without_a_version_none_is_said() -> None:
    _, front = await ask()

    attribution = front.event.attribution
    assert attribution.prompt_key == "unknown"
    # The active one is attached at settlement, which knows the history.
    assert not attribution.HasField("prompt_version")


async def test_a_stream_is_stripped_and_asked_for_its_usage() -> None:
    body = WITH_METADATA[:-1] + b',"stream":true}'
    _, front = await ask(OPENAI, body)

    sent = orjson.loads(front.provider.last.body)
    assert sent == {**orjson.loads(CHAT), "stream": True, "stream_options": {"include_usage": True}}


async def test_a_large_body_is_stripped_too() -> None:
    filler = b',"x":"' + b"a" * 2_000_000 + b'"}'
    _, front = await ask(OPENAI, WITH_METADATA[:-1] + filler)

    assert front.provider.last.body == CHAT[:-1] + filler


@pytest.mark.acceptance("B-139")
@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ((), ["2023-06-01"]),
        (("anthropic-version: 2026-10-21",), ["2026-10-21"]),
        (("Anthropic-Version: 2023-01-01", "anthropic-beta: x"), ["2023-01-01"]),
    ],
)
async def test_anthropics_version_passes_or_has_its_default(
    headers: tuple[str, ...], version: list[str]
) -> None:
    _, front = await ask(ANTHROPIC, CHAT, *headers)

    assert front.provider.last.named("anthropic-version") == version


@pytest.mark.acceptance("B-140")
async def test_openai_is_sent_no_version() -> None:
    _, front = await ask(OPENAI)

    assert front.provider.last.line == "POST /v1/chat/completions HTTP/1.1"
    assert not any("version" in name.lower() for name, _ in front.provider.last.headers)


@pytest.mark.acceptance("B-129", "B-132", "B-149")
@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/api/proxy/v1/anthropic/v1/messages?beta=true", "POST /v1/messages?beta=true HTTP/1.1"),
        (ANTHROPIC, "POST /v1/messages HTTP/1.1"),
        ("/v1/v1/messages", "POST /v1/messages HTTP/1.1"),
        (
            GEMINI + "?alt=sse&key=leak",
            "POST /v1beta/models/gemini-2.5-flash:generateContent?alt=sse HTTP/1.1",
        ),
        (OPENAI + "?a=%2f&b", "POST /v1/chat/completions?a=%2f&b HTTP/1.1"),
    ],
)
async def test_the_route_behind_the_name_goes_upstream_as_it_is(path: str, line: str) -> None:
    own = ("X-OM-Customer-Id: acme", "X-OM-User-Id: u", "X-OM-Feature-Id: f", f"X-OM-Api-Key: {PLATFORM_KEY}")
    _, front = await ask(path, CHAT, *own)

    assert front.provider.last.line == line


@pytest.mark.acceptance("B-143", "B-164", "B-165", "B-166", "B-171")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ((HEADERS[1],), "missing_platform_key"),
        (("Authorization: Basic eA==", HEADERS[1]), "missing_platform_key"),
        (("Authorization: Bearer", HEADERS[1]), "missing_platform_key"),
        (("Authorization: Bearer om_live_unknown", HEADERS[1]), "invalid_api_key"),
        (("Authorization: Bearer sk-openai", HEADERS[1]), "invalid_api_key"),
        ((HEADERS[0],), "missing_provider_key"),
        ((HEADERS[0], "X-Provider-Key:   "), "missing_provider_key"),
        ((HEADERS[0], "x-api-key: sk-ant", "x-goog-api-key: AIza"), "missing_provider_key"),
    ],
)
async def test_a_key_that_is_missing_or_wrong_is_401_and_nobody_is_called(
    path: str, headers: tuple[str, ...], code: str
) -> None:
    async with gate(answers) as front:
        answer = await front.ask(path, CHAT, *headers, JSON)

    error = error_of(answer)
    assert answer.status == 401
    told = error["details"][0]["reason"].lower() if path == GEMINI else error["details"]["error_code"]
    assert told == code
    assert answer.named("x-should-retry") == ["false"]
    assert front.provider.exchanges == []
    assert front.asked == []


@pytest.mark.acceptance("B-135", "B-146")
@pytest.mark.parametrize("key", [PLATFORM_KEY, "apc_of_the_gate"])
@pytest.mark.parametrize("path", [*PATHS, "/v1/chat/completions"])
async def test_both_prefixes_of_a_platform_key_open_both_dialects(key: str, path: str) -> None:
    ours = ("X-OM-Customer-Id: acme", "X-OM-User-Id: u", "X-OM-Feature-Id: f", f"X-OM-Api-Key: {key}")
    own = (f"Authorization: Bearer {key}", HEADERS[1])
    async with gate(answers) as front:
        answer = await front.ask(
            path, CHAT, *(own if path.startswith("/api") else (*ours, "Authorization: Bearer sk"))
        )

    assert answer.status == 200


@pytest.mark.acceptance("B-167", "B-168")
@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        (OPENAI, b"{", "invalid_json", None),
        (OPENAI, b'{"model":"gpt-4o","messages":[],}', "invalid_json", None),
        (OPENAI, b"[]", "invalid_json", None),
        (OPENAI, b'{"messages":[]}', "invalid_field", "model"),
        (OPENAI, b'{"model":"gpt-4o"}', "invalid_field", "messages"),
        (ANTHROPIC, b"", "invalid_json", None),
        (ANTHROPIC, b'{"model":"claude-sonnet-4-5","max_tokens":1}', "invalid_field", "messages"),
        (ANTHROPIC, b'{"messages":[],"max_tokens":1}', "invalid_field", "model"),
        (OPENAI, CHAT[:-1] + b',"_aipromptcost":[]}', "invalid_field", "_aipromptcost"),
        (OPENAI, CHAT[:-1] + b',"_aipromptcost":{"version":"2"}}', "invalid_field", "_aipromptcost.version"),
    ],
)
async def test_a_body_that_cannot_be_read_is_400_and_nobody_is_called(
    path: str, body: bytes, code: str, param: str | None
) -> None:
    answer, front = await ask(path, body)

    error = error_of(answer)
    assert (answer.status, error["code"], error["param"]) == (400, code, param)
    assert front.provider.exchanges == []
    assert front.asked == []


async def test_gemini_says_so_in_its_own_shape() -> None:
    answer, _ = await ask(GEMINI, b'{"contents":[],"_aipromptcost":7}')

    error = error_of(answer)
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["details"][0]["metadata"] == {"field": "_aipromptcost"}


@pytest.mark.acceptance("B-170", "B-041", "B-042")
@pytest.mark.parametrize("path", PATHS)
async def test_a_wrong_provider_key_is_told_by_the_provider_itself(path: str) -> None:
    body = b'{"error":{"message":"Invalid API key provided","type":"authentication_error"}}'

    async def refuses(exchange: Exchange) -> None:
        await exchange.answer(body, "x-request-id: req_theirs", status="401 Unauthorized")

    async with gate(refuses) as front:
        answer = await front.ask(path, CHAT, *HEADERS, JSON)

    assert (answer.status, answer.body) == (401, body)
    assert answer.named("x-request-id") == ["req_theirs"]
    assert answer.named("x-om-request-id") == [front.event.event_id]


@pytest.mark.acceptance("B-042", "B-043", "B-044")
@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 502, 503, 529])
@pytest.mark.parametrize("path", [OPENAI, ANTHROPIC, GEMINI])
async def test_every_error_of_the_provider_passes(path: str, status: int) -> None:
    body = b'{"error":{"message":"Rate limit exceeded","type":"rate_limit_error"}}'

    async def refuses(exchange: Exchange) -> None:
        await exchange.answer(body, "Retry-After: 7", status=f"{status} No")

    async with gate(refuses) as front:
        answer = await front.ask(path, CHAT, *HEADERS, JSON)

    assert (answer.status, answer.body, answer.named("retry-after")) == (status, body, ["7"])


@pytest.mark.acceptance("B-169", "B-045")
@pytest.mark.parametrize("path", PATHS)
async def test_a_provider_that_breaks_off_before_its_answer_is_502(path: str) -> None:
    async def breaks(exchange: Exchange) -> None:
        exchange.reset()

    async with gate(breaks) as front:
        answer = await front.ask(path, CHAT, *HEADERS, JSON)

    assert answer.status == 502
    assert "Failed to connect to " in error_of(answer)["message"]


@pytest.mark.acceptance("B-142")
@pytest.mark.parametrize("path", PATHS)
async def test_the_sandbox_needs_no_provider_key_and_calls_nobody(path: str) -> None:
    generate = b'{"contents":[{"parts":[{"text":"Hi"}]}]}'
    async with gate(answers) as front:
        answer = await front.ask(
            path, generate if path == GEMINI else CHAT, HEADERS[0], JSON, "X-Sandbox: true"
        )

    assert answer.status == 200, answer.body
    assert front.provider.exchanges == []
    assert front.event.sandbox


@pytest.mark.parametrize("path", [OPENAI, "/api/proxy/v1/openai/realtime", "/v1/realtime"])
async def test_a_websocket_is_refused(path: str) -> None:
    async with gate(answers) as front:
        answer = await front.ask(
            path, b"", *HEADERS, "Connection: Upgrade", "Upgrade: websocket", method="GET"
        )

    assert (answer.status, error_of(answer)["code"]) == (400, "upgrade_not_supported")


@pytest.mark.parametrize(
    "twice",
    [
        HEADERS[0],
        HEADERS[1],
        "X-OM-Tags: a",
        "X-OM-Prompt-Key: a",
        "X-OM-Prompt-Version: 1",
        "X-OM-Include-Cost: true",
        "X-Sandbox: false",
    ],
)
async def test_a_header_of_ours_that_comes_twice_is_refused(twice: str) -> None:
    rest = [header for header in HEADERS if header != twice]
    async with gate(answers) as front:
        answer = await front.ask(OPENAI, CHAT, *rest, twice, twice.replace("X-", "x-"))

    assert (answer.status, error_of(answer)["code"]) == (400, "ambiguous_header")
    assert front.provider.exchanges == []


@pytest.mark.acceptance("B-014")
async def test_both_dialects_can_say_everything() -> None:
    labels = (
        "X-OM-Customer-Id: acme",
        "X-OM-User-Id: user_1",
        "X-OM-Feature-Id: chat",
        'X-OM-Metadata: {"ticket": "T-17"}',
        "X-OM-Prompt-Key: document-summarizer",
        "X-OM-Prompt-Version: 2",
        "X-OM-Tags: summarization, documents",
    )
    async with gate(answers) as front:
        await front.ask(OPENAI, CHAT, *HEADERS, *labels)
        own = (f"X-OM-Api-Key: {PLATFORM_KEY}", "Authorization: Bearer sk")
        await front.ask("/v1/chat/completions", CHAT, *own, *labels)

    by_path, by_header = front.events
    assert by_path.attribution == by_header.attribution
    assert by_path.metadata == by_header.metadata
    assert (by_path.attribution.prompt_key, by_path.attribution.prompt_version) == ("document-summarizer", 2)
    assert by_path.attribution.customer_id == "acme"
    assert all(not name.lower().startswith("x-om-") for name, _ in front.provider.last.headers)


async def test_the_other_dialect_leaves_the_object_in_the_body() -> None:
    labels = (
        "X-OM-Customer-Id: acme",
        "X-OM-User-Id: u",
        "X-OM-Feature-Id: f",
        f"X-OM-Api-Key: {PLATFORM_KEY}",
    )
    async with gate(answers) as front:
        await front.ask("/v1/chat/completions", WITH_METADATA, *labels, "Authorization: Bearer sk")

    assert front.provider.last.body == WITH_METADATA
    assert front.event.attribution.prompt_key == ""


async def test_a_compressed_answer_stays_as_it_is() -> None:
    packed = gzip.compress(ANSWER)

    async def zips(exchange: Exchange) -> None:
        await exchange.answer(packed, "Content-Encoding: gzip")

    async with gate(zips) as front:
        answer = await front.ask(OPENAI, CHAT, *HEADERS, JSON, "Accept-Encoding: gzip")

    assert answer.body == packed
    assert front.event.lines[0].model == "gpt-4o"


async def test_a_form_is_left_alone_and_attributed_by_headers() -> None:
    path = "/api/proxy/v1/openai/audio/transcriptions"
    parts = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n_aipromptcost\r\n'
        b"--b--\r\n"
    )
    async with gate(answers) as front:
        answer = await front.ask(
            path,
            parts,
            *HEADERS,
            "Content-Type: multipart/form-data; boundary=b",
            "X-OM-Prompt-Key: dictation",
            "X-OM-Tags: audio",
        )

    assert answer.status == 200, answer.body
    assert front.provider.last.body == parts
    assert front.event.attribution.prompt_key == "dictation"


@pytest.mark.acceptance("B-161", "B-163")
async def test_neither_key_nor_prompt_is_logged_or_reported(caplog: pytest.LogCaptureFixture) -> None:
    async with gate(answers) as front:
        with capture_logs() as logs:
            await front.ask(OPENAI, WITH_METADATA, *HEADERS, JSON, "X-OM-Include-Cost: true")
            await front.ask(OPENAI, b'{"canary', *HEADERS, JSON)
            await front.ask(GEMINI + "?key=canary", CHAT, HEADERS[0], JSON)
            await front.ask("/api/proxy/v1/nobody/canary?key=canary", CHAT, *HEADERS)

    assert len(logs) >= 3
    for secret in (PLATFORM_KEY, PROVIDER_KEY, "canary", "Hi there"):
        assert secret not in repr(logs)
        assert secret not in caplog.text
        assert secret not in repr(front.events)


@pytest.mark.acceptance("B-027")
async def test_no_caller_is_slowed_down_for_calling_often() -> None:
    async with gate(answers) as front:
        found = await asyncio.gather(*(front.ask(OPENAI, CHAT, *HEADERS, JSON) for _ in range(200)))

    assert {answer.status for answer in found} == {200}
    assert len(front.events) == 200


async def test_a_refused_call_names_itself_in_every_header_that_is_read() -> None:
    answer, _ = await ask(OPENAI, b"{")
    ids = {
        value for name in ("x-om-request-id", "x-request-id", "request-id") for value in answer.named(name)
    }

    assert len(ids) == 1
