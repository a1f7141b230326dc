"""The compatible providers and all of OpenAI through the proxy's front: what goes up, what is reported."""

from __future__ import annotations

import orjson
import pytest

from om.type.v1 import event_pb2
from tests.proxy.gate import PLATFORM_KEY, PROVIDER_KEY, Gate, gate
from tests.proxy.raw_http import Exchange, Received, Script, head

OWN = (
    f"X-OM-Api-Key: {PLATFORM_KEY}",
    "X-OM-Customer-Id: acme",
    "X-OM-User-Id: u",
    "X-OM-Feature-Id: f",
    f"Authorization: Bearer {PROVIDER_KEY}",
)
NAMED = (f"Authorization: Bearer {PLATFORM_KEY}", f"X-Provider-Key: {PROVIDER_KEY}")
JSON = "Content-Type: application/json"
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "background": True,
    "status": "completed",
    "model": "gpt-5",
    "usage": {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11},
}


def says(answer: object) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(answer if isinstance(answer, bytes) else orjson.dumps(answer))

    return script


async def ask(
    path: str,
    answer: object,
    *,
    body: bytes = b"",
    method: str = "POST",
    headers: tuple[str, ...] = (*OWN, JSON),
) -> tuple[Received, Gate]:
    async with gate(says(answer)) as front:
        received = await front.ask(path, body, *headers, method=method)
    return received, front


def amounts(event: event_pb2.UsageEvent) -> list[dict[str, int]]:
    return [{item.unit: item.amount for item in line.usage.quantities} for line in event.lines]


async def test_a_background_response_is_deferred_under_its_id() -> None:
    begun = {**RESPONSE, "status": "queued", "usage": None}

    received, front = await ask(
        "/v1/responses", begun, body=b'{"model":"gpt-5","input":"Hi","background":true}'
    )

    assert orjson.loads(received.body) == begun
    assert front.event.outcome == event_pb2.OUTCOME_DEFERRED
    assert (front.event.job_id, front.event.lines[0].provider) == ("resp_1", "openai")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/responses/resp_1"), ("GET", "/v1/responses/resp_1?stream=true&starting_after=4")],
)
async def test_a_poll_is_not_admitted_and_reports_the_end_of_the_job(method: str, path: str) -> None:
    received, front = await ask(path, RESPONSE, method=method, headers=OWN)

    assert orjson.loads(received.body) == RESPONSE
    seen = front.provider.last
    assert (seen.line.split()[0], seen.line.split()[1]) == (method, path)
    assert seen.body == b""
    assert not front.asked[0][0].billable
    assert front.event.event_id == "job:openai:resp_1"
    assert front.event.outcome == event_pb2.OUTCOME_CHARGED
    assert (front.event.job_id, list(front.event.funding), front.event.wallet_id) == ("", [], "")
    assert amounts(front.event) == [{"input_tokens": 9, "output_tokens": 2}]


async def test_a_background_response_that_ends_at_once_is_deferred_and_ended() -> None:
    _, front = await ask("/v1/responses", RESPONSE, body=b'{"model":"gpt-5","input":"Hi","background":true}')

    assert [(event.outcome, event.job_id) for event in front.events] == [
        (event_pb2.OUTCOME_DEFERRED, "resp_1"),
        (event_pb2.OUTCOME_CHARGED, ""),
    ]
    assert front.events[1].event_id == "job:openai:resp_1"


async def test_a_job_that_failed_is_ended_without_a_charge() -> None:
    failed = {"id": "video_1", "object": "video", "status": "failed", "model": "sora-2", "seconds": "4"}

    _, front = await ask("/v1/videos/video_1", failed, method="GET", headers=OWN)

    assert (front.event.event_id, front.event.outcome) == ("job:openai:video_1", event_pb2.OUTCOME_ZERO)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/gpt-5"),
        ("DELETE", "/v1/files/file_1"),
        ("GET", "/v1/files?purpose=batch&limit=2"),
        ("DELETE", "/v1/responses/resp_1"),
    ],
)
async def test_a_free_route_passes_with_its_method_and_leaves_nothing(method: str, path: str) -> None:
    received, front = await ask(path, {"data": []}, method=method, headers=OWN)

    assert (received.status, received.body) == (200, b'{"data":[]}')
    assert front.provider.last.line.startswith(f"{method} {path} ")
    names = {name.lower() for name, _ in front.provider.last.headers}
    assert names - {"content-length"} == {"host", "authorization"}
    assert (front.asked[0][0].billable, front.events) == (False, [])


async def test_a_form_is_forwarded_byte_for_byte() -> None:
    body = (
        b'--b"1\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n\x00\xff\r\n\r\n'
        b'--b"1\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b"1--\r\n'
    ).replace(b'b"1', b"b-1")
    kind = "Content-Type: multipart/form-data; boundary=b-1"
    answer = {"text": "Hi", "usage": {"type": "duration", "seconds": 7}}

    _, front = await ask("/v1/audio/transcriptions", answer, body=body, headers=(*OWN, kind))

    assert front.provider.last.body == body
    assert front.provider.last.named("content-type") == ["multipart/form-data; boundary=b-1"]
    assert amounts(front.event) == [{"audio_seconds": 7_000}]


async def test_sound_passes_unread_and_its_text_is_charged() -> None:
    async def speak(exchange: Exchange) -> None:
        await exchange.send(
            head("200 OK", "Content-Type: audio/mpeg", "Content-Length: 4") + b"\xff\xfb\x00{"
        )

    async with gate(speak) as front:
        received = await front.ask(
            "/v1/audio/speech", b'{"model":"tts-1","voice":"alloy","input":"Hello"}', *OWN, JSON
        )

    assert received.body == b"\xff\xfb\x00{"
    assert amounts(front.event) == [{"characters": 5}]


async def test_sizes_of_images_are_reported_for_their_price() -> None:
    body = b'{"model":"dall-e-3","prompt":"x","size":"1792x1024","quality":"hd"}'

    _, front = await ask("/v1/images/generations", {"data": [{"url": "https://x"}]}, body=body)

    [line] = front.event.lines
    assert (amounts(front.event), dict(line.attributes)) == (
        [{"images": 1}],
        {"quality": "hd", "size": "1792x1024"},
    )


@pytest.mark.parametrize(
    ("name", "upstream", "price"),
    [
        ("groq", "/openai/v1/chat/completions", "groq"),
        ("deepseek", "/chat/completions", "deepseek"),
        ("openrouter", "/api/v1/chat/completions", "openrouter"),
    ],
)
async def test_a_compatible_provider_is_reached_by_name_at_its_own_path(
    name: str, upstream: str, price: str
) -> None:
    answer = {"model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}

    _, front = await ask(
        f"/api/proxy/v1/{name}/chat/completions",
        answer,
        body=b'{"model":"m","messages":[]}',
        headers=(*NAMED, JSON),
    )

    assert front.provider.last.line.startswith(f"POST {upstream} ")
    assert front.provider.last.named("authorization") == [f"Bearer {PROVIDER_KEY}"]
    assert front.event.lines[0].provider == price
    assert amounts(front.event) == [{"input_tokens": 3, "output_tokens": 2}]


async def test_a_compatible_provider_is_not_at_openais_own_path_nor_with_other_routes() -> None:
    for path in (
        "/v1/groq/chat/completions",
        "/api/proxy/v1/groq/files",
        "/api/proxy/v1/azure/chat/completions",
    ):
        received, front = await ask(path, {}, body=b"{}", headers=(*OWN, *NAMED[1:], JSON))
        assert (received.status, front.provider.exchanges) == (404, [])


@pytest.mark.parametrize("name", ["groq", "deepseek", "openrouter"])
async def test_a_compatible_provider_in_the_sandbox_is_simulated_at_openais_path(name: str) -> None:
    received, front = await ask(
        f"/api/proxy/v1/{name}/chat/completions",
        {},
        body=b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}',
        headers=(*NAMED, JSON, "X-Sandbox: true"),
    )

    assert (received.status, front.provider.exchanges) == (200, [])
    assert front.event.sandbox
