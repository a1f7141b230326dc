"""What a request for a message may consume, with every other model that it may run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from om_proxy.call.bound import Bound, Ceiling, ModelLimits, Unbounded, bound
from om_proxy.call.call import Call
from om_proxy.metering.usage import Unit
from om_proxy.refusals.problem import invalid_field, invalid_json
from tests.proxy.exchange import MESSAGES_PATH, call_of, read_of

BATCHES_PATH = "/v1/messages/batches"
WINDOWS = {"claude-opus-4-8": 1_000_000}
EVERYTHING = (
    Unit.INPUT_TOKENS,
    Unit.CACHE_READ_TOKENS,
    Unit.CACHE_WRITE_5M_TOKENS,
    Unit.CACHE_WRITE_1H_TOKENS,
)
ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-8", "max_uses": 3}


def limits_of(model: str) -> ModelLimits:
    return ModelLimits(WINDOWS.get(model, 200_000), 8_000)


def message(**fields: Any) -> dict[str, Any]:
    body = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    return body | fields


def bounded(body: object, path: str = MESSAGES_PATH) -> dict[str, list[Ceiling]]:
    """Bound every share of a call, by model, as admission does."""
    call = call_of(path, body)
    found: dict[str, list[Ceiling]] = {}
    for part in parts_of(call):
        answer = bound(part, limits_of(part.model))
        assert not isinstance(answer, Unbounded), answer
        found.setdefault(part.model, []).extend(answer.ceilings)
    return found


def parts_of(call: Call) -> list[Call]:
    return [call, *(replace(call, model=share.model, demand=share.demand) for share in call.shares)]


def blamed(call: Call, limits: Callable[[str], ModelLimits] = limits_of) -> str:
    answers = [bound(part, limits(part.model)) for part in parts_of(call)]
    return next(answer.field for answer in answers if isinstance(answer, Unbounded))


def outputs(ceilings: list[Ceiling]) -> int:
    return sum(ceiling.amount for ceiling in ceilings if Unit.OUTPUT_TOKENS in ceiling.units)


def prompt_of(body: dict[str, Any]) -> int:
    [[prompt, _]] = bounded(body).values()
    return prompt.amount


def test_an_advisor_reads_its_window_as_often_as_it_may_be_asked() -> None:
    found = bounded(message(tools=[ADVISOR]))

    # Its answers are read by the model that asked, whose window bounds that.
    assert found["claude-sonnet-4-5"][0].amount == 200_000 * 4
    assert found["claude-opus-4-8"] == [
        Ceiling(1_000_000 * 3, EVERYTHING),
        Ceiling(8_000 * 3, (Unit.OUTPUT_TOKENS,)),
    ]


def test_each_fallback_may_read_the_prompt_and_write_as_much_as_the_cap() -> None:
    asked = message(
        fallbacks=[{"model": "claude-opus-4-8"}, "claude-haiku-4-5", {"model": "x", "max_tokens": 7_000}]
    )
    found = bounded(asked)

    assert list(found) == ["claude-sonnet-4-5", "claude-opus-4-8", "claude-haiku-4-5", "x"]
    assert len({ceilings[0] for ceilings in found.values()}) == 1
    assert [ceilings[1].amount for ceilings in found.values()] == [100, 100, 100, 7_000]


def test_a_fallback_to_the_same_model_is_a_second_run_of_it() -> None:
    found = bounded(message(fallbacks=[{"model": "claude-sonnet-4-5"}]))

    assert outputs(found["claude-sonnet-4-5"]) == 200


def test_compaction_reads_the_window_and_writes_a_summary_before_each_turn() -> None:
    edits = {"edits": [{"type": "clear_tool_uses_20250919"}, {"type": "compact_20260112"}]}
    searching = [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]

    once = bounded(message(context_management=edits))["claude-sonnet-4-5"]
    thrice = bounded(message(context_management=edits, tools=searching))["claude-sonnet-4-5"]

    assert Ceiling(200_000, EVERYTHING) in once
    assert outputs(once) == 8_100
    assert Ceiling(600_000, EVERYTHING) in thrice
    assert outputs(thrice) == 24_100


def test_a_budget_for_thinking_above_the_cap_is_believed() -> None:
    budget = {"type": "enabled", "budget_tokens": 5_000}

    assert bounded(message(thinking=budget))["claude-sonnet-4-5"][1].amount == 5_000
    assert bounded(message(thinking=budget, max_tokens=9_000))["claude-sonnet-4-5"][1].amount == 9_000


def test_a_model_whose_window_nobody_knows_is_named() -> None:
    call = call_of(MESSAGES_PATH, message(tools=[ADVISOR]))

    assert blamed(call, lambda model: ModelLimits(200_000 if "sonnet" in model else None, 8_000)) == (
        "tools[0].model"
    )


def test_a_batch_may_consume_what_all_of_its_requests_may() -> None:
    requests = [
        {"custom_id": "a", "params": message()},
        {"custom_id": "b", "params": message(max_tokens=50)},
        {"custom_id": "c", "params": message(model="claude-opus-4-8", max_tokens=7)},
    ]
    found = bounded({"requests": requests}, BATCHES_PATH)

    assert found["claude-sonnet-4-5"][0].amount == prompt_of(message()) + prompt_of(message(max_tokens=50))
    assert found["claude-sonnet-4-5"][1].amount == 150
    assert found["claude-opus-4-8"][1].amount == 7
    assert call_of(BATCHES_PATH, {"requests": requests}).billable


def test_what_leaves_a_request_of_a_batch_without_a_bound_is_named() -> None:
    requests = [{"params": message()}, {"params": message(tools=[{"type": "web_search_20250305"}])}]
    call = call_of(BATCHES_PATH, {"requests": requests})

    assert blamed(call) == "requests[1].params.tools[0].max_uses"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": [{"params": message()}, {"params": {}}]}, "requests[1].params.model"),
        ({"requests": [7]}, "requests[0].params.model"),
    ],
)
def test_a_batch_that_names_no_model_is_refused(body: object, field: str) -> None:
    assert read_of(BATCHES_PATH, orjson.dumps(body)) == invalid_field(field)
    assert read_of(BATCHES_PATH, b"[]") == invalid_json()


def test_requests_of_a_batch_add_up_whatever_bounds_them() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    picture = {"type": "image", "source": {"type": "url", "url": "https://x"}}
    requests = [
        {"params": message(tools=[search])},
        {"params": message(tools=[search], max_tokens=1)},
        {"params": message(messages=[{"role": "user", "content": [picture]}])},
        {"params": message(tools=[{"name": "f"}, {"name": "g"}])},
        {"params": message(max_tokens=None)},
        {"params": message(max_tokens=None)},
    ]
    alone = [bounded(request["params"])["claude-sonnet-4-5"] for request in requests]
    [together] = bounded({"requests": requests}, BATCHES_PATH).values()

    for units in ((Unit.INPUT_TOKENS,), (Unit.OUTPUT_TOKENS,), (Unit.WEB_SEARCHES,)):
        one_by_one = sum(ceiling.amount for part in alone for ceiling in part if ceiling.units == units)
        assert sum(ceiling.amount for ceiling in together if ceiling.units == units) == one_by_one > 0
    # Three searching runs for each of two requests, and an image whose size nobody knows.
    assert together[0] == Ceiling(200_000 * 7, (Unit.INPUT_TOKENS,))


def test_a_batch_of_many_requests_is_a_few_ceilings() -> None:
    requests = [{"custom_id": str(index), "params": message()} for index in range(1_000)]
    found = bounded({"requests": requests}, BATCHES_PATH)

    assert found["claude-sonnet-4-5"][0].amount == 1_000 * prompt_of(message())
    assert len(found["claude-sonnet-4-5"]) == 2


def test_what_is_not_billable_needs_no_bound_and_is_not_looked_at() -> None:
    call = call_of("/v1/files", b"--x\r\nanything", provider="anthropic")

    assert not call.billable
    assert call.body == b"--x\r\nanything"
    assert bound(call, ModelLimits()) == Bound("anthropic", "", ())
