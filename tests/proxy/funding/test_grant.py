from collections.abc import Mapping

import pytest

from om_proxy.call.bound import Bound, Ceiling, ModelLimits
from om_proxy.funding.grant import Grant, kept_nanos
from om_proxy.funding.purse import Part
from om_proxy.funding.rates import ModelRates
from om_proxy.metering.reading import Line
from om_proxy.metering.usage import Certainty, Quantity, Unit, Usage

IN, OUT = Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS
GRANT = Grant("wal_1", (Part("lse_1", 600), Part("lse_2", 400)))


def rates(
    per_million: Mapping[str, int] | None = None, *, request: int = 0, minimum: int = 0, priced: bool = True
) -> ModelRates:
    usual: Mapping[str, int] = {IN: 1_000_000, OUT: 3_000_000}
    found = usual if per_million is None else per_million
    return ModelRates(priced, found, request, minimum, ModelLimits())


def line(model: str = "m", **amounts: int | None) -> Line:
    quantities = tuple(
        Quantity(Unit(unit), amount, Certainty.UNKNOWN if amount is None else Certainty.MEASURED)
        for unit, amount in amounts.items()
    )
    return Line("openai", model, model, "standard", Usage(quantities))


def kept(*lines: Line, known: ModelRates | None = None) -> int:
    card = {"m": known or rates()}
    return kept_nanos(GRANT, lines, lambda _, model: card.get(model))


def test_a_call_keeps_what_its_lines_cost_at_the_cards_rates() -> None:
    assert kept(line(input_tokens=10, output_tokens=5)) == 25
    assert kept(line(input_tokens=10), line(output_tokens=5)) == 25
    assert kept() == 0


def test_a_part_of_a_nano_is_a_whole_one() -> None:
    assert kept(line(input_tokens=1), known=rates({IN: 1})) == 1
    assert kept(line(input_tokens=0), known=rates({IN: 1})) == 0


def test_each_line_bears_its_request_and_its_minimum() -> None:
    assert kept(line(input_tokens=1), line(input_tokens=1), known=rates(request=7)) == 16
    assert kept(line(input_tokens=1), line(input_tokens=99), known=rates(minimum=50)) == 149


def test_a_call_never_keeps_more_than_it_took() -> None:
    assert kept(line(input_tokens=5_000)) == 1_000


@pytest.mark.parametrize(
    ("lines", "known"),
    [
        ((line("unknown", input_tokens=1),), None),
        ((line(input_tokens=1), line("unknown", input_tokens=1)), None),
        ((line(input_tokens=1, output_tokens=None),), None),
        ((line(audio_input_tokens=1),), None),
        ((line(input_tokens=1),), rates(priced=False)),
    ],
)
def test_what_nobody_can_tell_keeps_everything(lines: tuple[Line, ...], known: ModelRates | None) -> None:
    assert kept(*lines, known=known) == 1_000


def test_what_is_only_information_costs_nothing_beside_the_output() -> None:
    assert kept(line(output_tokens=5, reasoning_tokens=4)) == 15


def test_a_bound_is_the_ceilings_at_their_dearest_with_what_each_request_bears() -> None:
    bound = Bound("openai", "m", (Ceiling(10, (IN, OUT)), Ceiling(5, (OUT,))))

    assert rates().bound_nanos(bound) == 45
    assert rates(request=7).bound_nanos(bound) == 52
    assert rates(minimum=60).bound_nanos(bound) == 60
    assert rates(priced=False).bound_nanos(bound) is None
    assert rates({IN: 1}).bound_nanos(bound) is None
