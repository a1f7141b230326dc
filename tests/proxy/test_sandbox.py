"""The simulator behind `X-Sandbox`: users order what their billing should meet, within bounds."""

from __future__ import annotations

import orjson
import pytest

from tests.proxy.one_edge import CHAT, answers, edge


def _usage(event: object) -> dict[str, int]:
    (line,) = event.lines  # type: ignore[attr-defined]
    return {quantity.unit: quantity.amount for quantity in line.usage.quantities}


async def test_a_directive_reaches_the_simulator_and_its_usage_is_reported() -> None:
    async with edge(answers) as proxy:
        answer = await proxy.ask(CHAT, "X-Sandbox: true", "X-Sim: reasoning=5; cached=7")
        (event,) = await proxy.server.reported()

    assert answer.status == 200
    assert (_usage(event)["cache_read_tokens"], _usage(event)["reasoning_tokens"]) == (7, 5)
    assert event.sandbox
    assert proxy.provider.exchanges == []


async def test_directives_behind_a_model_s_name_reach_it_too_and_the_model_is_itself() -> None:
    body = CHAT.replace(b'"gpt-4o"', b'"gpt-4o--sim.reasoning.5"')
    assert body != CHAT
    async with edge(answers) as proxy:
        await proxy.ask(body, "X-Sandbox: true")
        (event,) = await proxy.server.reported()

    assert _usage(event)["reasoning_tokens"] == 5
    assert event.lines[0].model == "gpt-4o-2024-08-06"


@pytest.mark.parametrize("directive", ["output_tokens=20001", "delay_ms=30001"])
async def test_a_directive_that_goes_too_far_is_refused_there(directive: str) -> None:
    async with edge(answers) as proxy:
        answer = await proxy.ask(CHAT, "X-Sandbox: true", f"X-Sim: {directive}")

    assert answer.status == 400
    assert directive.partition("=")[0] in orjson.loads(answer.body)["error"]["message"]
