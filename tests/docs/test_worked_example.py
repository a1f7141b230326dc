"""The figures of the example in money.md, computed again from the catalogue and the proxy's own bound."""

from __future__ import annotations

import re
from decimal import Decimal

from om_proxy.call.bound import ModelLimits, bound
from om_proxy.call.call import Call
from om_proxy.call.route import RouteTable
from om_proxy.providers.anthropic import Anthropic
from om_server.core.clock import system_clock
from om_server.core.event import UsageLine
from om_server.core.usage import Usage
from om_server.rating.catalogue import load_catalogue
from om_server.rating.operations import RatingOperations
from tests.docs.snippets import ROOT, commands, snippets
from tests.docs.tables import rows

_NANO = 10**9
_MODEL = "claude-haiku-4-5"
_DOCUMENT = ROOT / "docs/money.md"


def _steps() -> dict[str, tuple[str, ...]]:
    table = rows("docs/money.md", "step", "tokens", "dollars a million", "credits")
    return {step: figures for step, *figures in table}  # type: ignore[misc]  # A row has as many cells.


def _first_call() -> Call:
    shell = [snippet.block for snippet in snippets(_DOCUMENT) if "/v1/messages" in snippet.block.text]
    (words,) = commands(shell[0])
    body = words[words.index("-d") + 1].encode()
    provider = Anthropic()
    target = RouteTable(provider.routes).match("POST", "/v1/messages")
    assert target is not None
    call = provider.read(target, body)
    assert isinstance(call, Call)
    return call


def test_each_step_of_the_table_is_its_own_product() -> None:
    for tokens, dollars, credit in _steps().values():
        if tokens:
            assert Decimal(tokens) * Decimal(dollars) / 1_000_000 * 1_000 == Decimal(credit)


def test_the_sums_of_the_table_are_sums() -> None:
    steps = {step: Decimal(credit) for step, (_, _, credit) in _steps().items()}

    assert steps["held"] == steps["hold: prompt"] + steps["hold: output"]
    assert steps["charged"] == steps["charge: prompt"] + steps["charge: output"]


def test_the_hold_is_the_bound_of_the_request_that_is_shown() -> None:
    rating = RatingOperations(load_catalogue(), clock=system_clock)
    (card,) = rating.rate_card("org", "", provider="anthropic", models=[_MODEL]).models
    limit = bound(_first_call(), ModelLimits(card.context_window, card.output_tokens_max))
    assert not hasattr(limit, "field")
    steps = _steps()

    assert [str(ceiling.amount) for ceiling in limit.ceilings] == [
        steps["hold: prompt"][0],
        steps["hold: output"][0],
    ]
    assert limit.nanos(card.rates) == Decimal(steps["held"][2]) * _NANO


def test_the_charge_is_what_rating_says() -> None:
    steps = _steps()
    usage = Usage.measured(
        input_tokens=int(steps["charge: prompt"][0]), output_tokens=int(steps["charge: output"][0])
    )
    rating = RatingOperations(load_catalogue(), clock=system_clock)

    rated = rating.rate_lines([UsageLine(provider="anthropic", model=_MODEL, usage=usage)], at=None)

    assert rated.charge is not None
    assert rated.charge.nanos == Decimal(steps["charged"][2]) * _NANO


def test_the_sentence_about_the_body_is_true() -> None:
    call, text = _first_call(), _DOCUMENT.read_text(encoding="utf-8")
    told = re.search(r"the body's (\d+) bytes bound the\s+prompt, with (\d+)", text)

    assert told is not None
    assert int(told[1]) == len(call.body)
    assert int(told[1]) + int(told[2]) == int(_steps()["hold: prompt"][0])
