"""What each official client consumes is charged to the nano, streaming or not, on both databases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.e2e.official_clients import ANTHROPIC, GEMINI, OPENAI, OfficialClient, Question
from tests.e2e.tariff import charge_nanos, cost_nanos, tokens
from tests.e2e.tenant import Funds, nanos, quantities

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.e2e.installation import Installation

_GRANTED = 100 * 10**9


@dataclass(frozen=True, slots=True)
class _Day:
    """How the simulator behaves, and what it counts beside the prompt and the visible answer."""

    client: OfficialClient
    priced_model: str
    sim: str = ""
    extra: tuple[tuple[str, int], ...] = ()
    reasoning: int = 0

    def usage(self, prompt: str, answer: str) -> Mapping[str, int]:
        output = tokens(answer) + self.reasoning
        information = {"reasoning_tokens": self.reasoning} if self.reasoning else {}
        return {"input_tokens": tokens(prompt), **dict(self.extra), "output_tokens": output, **information}


_DAYS = {
    "openai": _Day(OPENAI, "gpt-4o"),
    "openai-cached": _Day(
        OPENAI, "gpt-4o", "cached=30; reasoning=5", (("cache_read_tokens", 30),), reasoning=5
    ),
    "anthropic": _Day(ANTHROPIC, "claude-haiku-4-5"),
    "anthropic-cached": _Day(
        ANTHROPIC,
        "claude-haiku-4-5",
        "cached=30; cache_write_5m=11; cache_write_1h=7; reasoning=5",
        (("cache_read_tokens", 30), ("cache_write_5m_tokens", 11), ("cache_write_1h_tokens", 7)),
        reasoning=5,
    ),
    "google": _Day(GEMINI, "gemini-2.0-flash"),
    "google-cached": _Day(
        GEMINI, "gemini-2.0-flash", "cached=30; reasoning=5", (("cache_read_tokens", 30),), reasoning=5
    ),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("day", _DAYS.values(), ids=_DAYS.keys())
@pytest.mark.acceptance("B-001", "B-002", "B-004", "B-016", "B-017")
def test_the_charge_is_the_catalogue_s_price_times_what_was_consumed(
    installation: Installation, day: _Day, *, stream: bool
) -> None:
    tenant = installation.tenant("100")
    client = day.client
    question = Question(client.model, stream=stream)

    answer = client.ask(installation.addresses.proxy, tenant.billing(**{"X-Sim": day.sim}), question)
    event = tenant.event()

    usage = day.usage(question.prompt, answer)
    (line,) = event["event"]["lines"]
    assert (line["provider"], line["model"]) == (client.provider, client.served_model)
    assert quantities(line) == usage
    assert {item["certainty"] for item in line["usage"]["quantities"]} == {"CERTAINTY_MEASURED"}
    assert nanos(event, "cost") == cost_nanos(client.provider, day.priced_model, usage)
    charge = charge_nanos(client.provider, day.priced_model, usage)
    assert nanos(event, "charge") == charge
    assert tenant.funds_at_rest() == Funds(available=_GRANTED - charge, held=0)
    assert (event["event"]["outcome"], event["flags"]) == ("OUTCOME_CHARGED", [])
    assert event["event"]["eventId"]
    assert event["event"]["attribution"]["userId"] == "user_123"


def test_calls_of_all_clients_are_charged_once_each_and_add_up(installation: Installation) -> None:
    tenant = installation.tenant("100")

    charge = 0
    for day in _DAYS.values():
        for stream in (False, True):
            question = Question(day.client.model, stream=stream)
            answer = day.client.ask(
                installation.addresses.proxy, tenant.billing(**{"X-Sim": day.sim}), question
            )
            usage = day.usage(question.prompt, answer)
            charge += charge_nanos(day.client.provider, day.priced_model, usage)
    events = tenant.events(2 * len(_DAYS))

    assert sum(nanos(event, "charge") for event in events) == charge
    assert tenant.funds_at_rest() == Funds(available=_GRANTED - charge, held=0)
