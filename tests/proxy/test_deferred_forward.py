"""Batches and videos through the proxy: deferred where they begin, and charged where their end is seen."""

from __future__ import annotations

import orjson

from om.type.v1 import event_pb2
from tests.proxy.gate import PLATFORM_KEY, Gate, gate
from tests.proxy.raw_http import Exchange, Received, Script

ATTRIBUTION = (
    f"X-OM-Api-Key: {PLATFORM_KEY}",
    "X-OM-Customer-Id: acme",
    "X-OM-User-Id: u",
    "X-OM-Feature-Id: f",
)
ANTHROPIC = (
    *ATTRIBUTION,
    "x-api-key: sk-ant",
    "anthropic-version: 2023-06-01",
    "Content-Type: application/json",
)
GOOGLE = (*ATTRIBUTION, "x-goog-api-client: gl-python", "Content-Type: application/json")
OPERATION = "models/veo-3.0-generate-001/operations/op-1"


def says(answer: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(answer)

    return script


async def ask(
    path: str, answer: bytes, *headers: str, body: bytes = b"", method: str = "GET"
) -> tuple[Received, Gate]:
    async with gate(says(answer)) as front:
        received = await front.ask(path, body, *headers, method=method)
    assert received.body == answer
    return received, front


def amounts(event: event_pb2.UsageEvent) -> list[dict[str, int]]:
    return [{item.unit: item.amount for item in line.usage.quantities} for line in event.lines]


def result(custom_id: str, kind: str = "succeeded") -> bytes:
    usage = {"input_tokens": 3, "output_tokens": 2}
    message = {"id": "msg_1", "type": "message", "model": "claude-haiku-4-5", "content": [], "usage": usage}
    return orjson.dumps({"custom_id": custom_id, "result": {"type": kind, "message": message}}) + b"\n"


async def test_a_batch_is_deferred_under_its_id() -> None:
    params = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": []}
    body = orjson.dumps({"requests": [{"custom_id": "a", "params": params}]})

    _, front = await ask(
        "/v1/messages/batches",
        b'{"id":"msgbatch_1","type":"message_batch"}',
        *ANTHROPIC,
        body=body,
        method="POST",
    )

    assert (front.event.outcome, front.event.job_id) == (event_pb2.OUTCOME_DEFERRED, "msgbatch_1")
    assert front.event.lines[0].provider == "anthropic"
    assert front.provider.last.body == body


async def test_results_of_a_batch_are_an_event_each_and_the_end_of_its_job() -> None:
    results = result("a") + result("b", "errored") + result("c")

    _, front = await ask("/v1/messages/batches/msgbatch_1/results", results, *ANTHROPIC)

    assert not front.asked[0][0].billable
    end, *parts = front.events
    assert (end.event_id, end.outcome) == ("job:anthropic:msgbatch_1", event_pb2.OUTCOME_ZERO)
    assert [part.event_id for part in parts] == [
        "part:anthropic:msgbatch_1:a",
        "part:anthropic:msgbatch_1:c",
    ]
    for part in parts:
        assert (part.outcome, part.wallet_id, list(part.funding)) == (event_pb2.OUTCOME_CHARGED, "", [])
        assert part.attribution.customer_id == "acme"
        assert (part.lines[0].tier, amounts(part)) == ("batch", [{"input_tokens": 3, "output_tokens": 2}])
        assert orjson.loads(part.lines[0].raw_usage_json) == {"input_tokens": 3, "output_tokens": 2}


async def test_a_video_is_deferred_with_the_seconds_that_were_asked_for() -> None:
    body = b'{"instances":[{"prompt":"a cat"}],"parameters":{"sampleCount":2,"durationSeconds":6}}'

    _, front = await ask(
        "/v1beta/models/veo-3.0-generate-001%3ApredictLongRunning?key=AIza-canary",
        orjson.dumps({"name": OPERATION}),
        *GOOGLE,
        body=body,
        method="POST",
    )

    assert (front.event.outcome, front.event.job_id) == (event_pb2.OUTCOME_DEFERRED, OPERATION)
    assert amounts(front.event) == [{"video_seconds": 12_000}]
    seen = front.provider.last
    assert seen.line.split()[1] == "/v1beta/models/veo-3.0-generate-001:predictLongRunning"
    assert seen.named("x-goog-api-key") == ["AIza-canary"]


async def test_an_operation_that_is_done_ends_the_call_that_began_it() -> None:
    made = {"generateVideoResponse": {"generatedSamples": [{"video": {"uri": "https://x"}}]}}
    done = orjson.dumps({"name": OPERATION, "done": True, "response": made})

    _, front = await ask(f"/v1beta/{OPERATION}?key=AIza-canary", done, *GOOGLE)

    assert front.event.event_id == f"job:google:{OPERATION}"
    assert not front.event.lines[0].usage.quantities[0].HasField("amount")
    assert front.provider.last.line.split()[1] == f"/v1beta/{OPERATION}"


async def test_what_is_free_leaves_no_event() -> None:
    _, front = await ask("/v1/models", b'{"data":[]}', *ANTHROPIC)

    assert front.events == []
    assert front.provider.last.named("x-api-key") == ["sk-ant"]
