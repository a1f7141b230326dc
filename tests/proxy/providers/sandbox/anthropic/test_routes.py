"""The official Anthropic SDK, which validates strictly here: batches, and what messages can be made to do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
import pytest_asyncio

from om_proxy.providers.sandbox import Simulator
from tests.proxy.providers.sandbox.asking import (
    ANSWER,
    ANSWER_TOKENS,
    KEY,
    QUESTION,
    QUESTION_TOKENS,
    events,
    message,
    parsed,
)

ASKED: Any = {
    "model": "claude-opus-4-8",
    "max_tokens": 1_000,
    "messages": [{"role": "user", "content": QUESTION}],
    "tools": [{"name": "look_up", "input_schema": {"type": "object"}}],
}


@pytest_asyncio.fixture
async def client(simulator: Simulator) -> AsyncIterator[Any]:
    async with anthropic.AsyncAnthropic(
        api_key=KEY, base_url=simulator.url, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


def sim(directives: str) -> dict[str, str]:
    return {"X-Sim": directives}


@pytest.mark.parametrize(
    ("directives", "kinds", "reason", "output"),
    [
        ("tool_call=1", ["tool_use"], "tool_use", 4),
        ("refusal=1", ["text"], "refusal", 10),
        ("reasoning=50", ["thinking", "text"], "end_turn", ANSWER_TOKENS + 50),
        ("reasoning=50; silent=1", ["text"], "end_turn", ANSWER_TOKENS + 50),
        ("reasoning=5000; silent=1", [], "max_tokens", 1_000),
        ("echo=1", ["text"], "end_turn", QUESTION_TOKENS),
    ],
)
async def test_a_message_is_the_same_whole_and_streamed(
    client: Any, directives: str, kinds: list[str], reason: str, output: int
) -> None:
    whole = await client.messages.create(**ASKED, extra_headers=sim(directives))
    async with client.messages.stream(**ASKED, extra_headers=sim(directives)) as stream:
        ended = await stream.get_final_message()

    for told in (whole, ended):
        assert [block.type for block in told.content] == kinds
        assert (told.stop_reason, told.usage.output_tokens) == (reason, output)
    if "tool_use" in kinds:
        assert ended.content[0].input == whole.content[0].input == {"city": "Bern"}
        assert whole.content[0].name == "look_up"


@pytest.mark.parametrize("streamed", [False, True])
def test_iterations_hold_what_the_top_of_the_usage_leaves_out(*, streamed: bool) -> None:
    for kind, listed in (
        ("compaction", [("compaction", None), ("message", None)]),
        ("advisor", [("message", None), ("advisor_message", "claude-opus-4-8")]),
        ("fallback", [("fallback_message", "claude-opus-4-8")]),
    ):
        reply = message(f"iterations={kind}; cached=9", stream=streamed)
        ends = [event for event in events(reply) if event["type"] == "message_delta"] if streamed else []
        usage = ends[0]["usage"] if streamed else parsed(reply)["usage"]

        assert [(item["type"], item.get("model")) for item in usage["iterations"]] == listed
        (own,) = [item for item in usage["iterations"] if item["type"] in {"message", "fallback_message"}]
        assert (own["input_tokens"], own["cache_read_input_tokens"]) == (usage["input_tokens"], 9)
        assert own["output_tokens"] == usage["output_tokens"]


def test_searches_are_counted_for_themselves() -> None:
    assert parsed(message("web_searches=3"))["usage"]["server_tool_use"]["web_search_requests"] == 3


async def test_a_batch_ends_with_a_line_for_each_request(client: Any, simulator: Simulator) -> None:
    models = ["claude-opus-4-8", "claude-opus-4-8--sim.reasoning.50", "claude-opus-4-8"]
    requests = [
        {"custom_id": str(at), "params": {**ASKED, "model": model}} for at, model in enumerate(models)
    ]

    begun = await client.messages.batches.create(requests=requests, extra_headers=sim("errored=1"))
    working = await client.messages.batches.retrieve(begun.id, extra_headers=sim("status=in_progress"))
    ended = await client.messages.batches.retrieve(begun.id)
    results = [result async for result in await client.messages.batches.results(begun.id)]

    assert (begun.processing_status, working.processing_status) == ("in_progress", "in_progress")
    assert (ended.processing_status, ended.request_counts.succeeded, ended.request_counts.errored) == (
        "ended",
        2,
        1,
    )
    assert ended.results_url == f"{simulator.url}/v1/messages/batches/{begun.id}/results"
    assert [(result.custom_id, result.result.type) for result in results] == [
        ("0", "errored"),
        ("1", "succeeded"),
        ("2", "succeeded"),
    ]
    assert [result.result.message.usage.output_tokens for result in results[1:]] == [66, 16]
    assert {result.result.message.usage.service_tier for result in results[1:]} == {"batch"}


async def test_a_batch_is_listed_cancelled_and_deleted(client: Any) -> None:
    begun = await client.messages.batches.create(requests=[{"custom_id": "a", "params": ASKED}])

    assert [batch.id async for batch in client.messages.batches.list()] == [begun.id]
    assert (await client.messages.batches.cancel(begun.id)).processing_status == "canceling"
    assert (await client.messages.batches.retrieve(begun.id)).request_counts.canceled == 1
    assert (await client.messages.batches.delete(begun.id)).id == begun.id
    with pytest.raises(anthropic.NotFoundError):
        await client.messages.batches.retrieve(begun.id)


async def test_results_are_json_lines(client: Any) -> None:
    begun = await client.messages.batches.create(requests=[{"custom_id": "a", "params": ASKED}])
    answer = await client.messages.with_raw_response.create(**ASKED)
    raw = await client.get(f"/v1/messages/batches/{begun.id}/results", cast_to=str)

    (line,) = raw.splitlines()
    assert json.loads(line)["result"]["message"]["content"][0]["text"] == ANSWER
    assert answer.headers["anthropic-ratelimit-tokens-remaining"]


@pytest.mark.parametrize("requests", [[], ["text"], [{"custom_id": "a", "params": {}}]])
async def test_a_batch_that_cannot_be_answered_is_refused_whole(client: Any, requests: Any) -> None:
    with pytest.raises(anthropic.BadRequestError):
        await client.messages.batches.create(requests=requests)
