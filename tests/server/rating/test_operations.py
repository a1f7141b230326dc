from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.event import Attribution, Event, EventType, UsageLine
from om_server.core.money import CREDITS, USD, Money
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.rating.burn_table import default_burn_table
from om_server.rating.catalogue import Catalogue
from om_server.rating.onset import CARD_LIFE
from om_server.rating.operations import RatingOperations
from om_server.rating.price import Price
from om_server.rating.rate import rate
from om_server.rating.unit_rate import Rate

CHANGE = 1_000_000
NOW = 2_000_000

CATALOGUE = Catalogue(
    version="2026-11-21",
    prices=(
        Price("old", "openai", "o3", (Rate("input_tokens", "10"),), effective_to=CHANGE),
        Price("new", "openai", "o3", (Rate("input_tokens", "2"),), effective_from=CHANGE),
        Price("soon", "openai", "gpt", (Rate("output_tokens", "3"),), effective_to=NOW + CARD_LIFE - 1),
        Price("later", "openai", "gpt", (Rate("output_tokens", "4"),), effective_from=NOW + CARD_LIFE - 1),
        Price("beyond", "openai", "next", (Rate("output_tokens", "9"),), effective_from=NOW + CARD_LIFE),
        Price("euro", "mistral", "e", (Rate("input_tokens", "1"),), currency="EUR"),
    ),
    models=(),
    fallback_providers={},
)
MILLION = Usage.measured(input_tokens=1_000_000)


@pytest.fixture
def operations() -> RatingOperations:
    return RatingOperations(CATALOGUE, clock=lambda: NOW)


def event_at(time: int, *lines: UsageLine) -> Event:
    return Event(
        organization_id="org",
        source="api",
        event_id="e",
        event_type=EventType.TOKEN_USAGE,
        event_time=time,
        # Received long after: what counts is when it happened.
        receive_time=NOW * 2,
        attribution=Attribution(feature_id="chat"),
        lines=lines,
    )


@pytest.mark.parametrize(
    ("time", "cost"), [(0, "10"), (CHANGE - 1, "10"), (CHANGE, "2"), (CHANGE + 1, "2"), (NOW, "2")]
)
def test_an_event_has_the_price_of_its_own_time_and_a_price_starts_on_time(
    operations: RatingOperations, time: int, cost: str
) -> None:
    line = UsageLine("openai", "o3", MILLION)

    assert operations.rate_event(event_at(time, line)).cost == Money.parse(cost, USD)
    assert operations.rate_lines([line], at=time).cost == Money.parse(cost, USD)


def test_without_a_time_now_counts(operations: RatingOperations) -> None:
    rating = operations.rate_lines([UsageLine("openai", "o3", MILLION)], at=None)

    assert (rating.cost, rating.charge) == (Money.parse("2", USD), Money.parse("2000", CREDITS))
    assert (rating.price_versions, rating.burn_table_version) == (("new",), "default")


def test_a_cost_in_another_currency_is_never_read_as_dollars(operations: RatingOperations) -> None:
    euro, dollar = UsageLine("mistral", "e", MILLION), UsageLine("openai", "o3", MILLION)

    alone = operations.rate_lines([euro], at=None)
    mixed = operations.rate_lines([dollar, euro], at=None)

    assert (alone.cost, alone.charge) == (Money.parse("1", "EUR"), None)
    assert (mixed.cost, mixed.charge) == (None, None)
    card = operations.rate_card("org", "", provider="mistral", models=["e"])
    assert [model.priced for model in card.models] == [False]


def test_a_card_has_every_price_that_starts_while_it_lives(operations: RatingOperations) -> None:
    card = operations.rate_card("org", "", provider="openai", models=["gpt", "next", "unknown"])

    assert [dict(model.rates) for model in card.models] == [{"output_tokens": 4 * 10**12}, {}, {}]
    assert (card.version, card.time_to_live_us) == ("2026-11-21/default", CARD_LIFE)


QUANTITIES = st.one_of(
    st.builds(Quantity, st.sampled_from(["input_tokens", "output_tokens", "images"]), st.integers(0, 2**53)),
    st.just(Quantity("output_tokens", None, Certainty.UNKNOWN)),
)
LINES = st.builds(
    UsageLine,
    st.sampled_from(["openai", "OPENAI", "mistral", "nobody"]),
    st.sampled_from(["o3", "gpt", "e", "?"]),
    st.lists(QUANTITIES, max_size=3, unique_by=lambda quantity: quantity.unit).map(
        lambda quantities: Usage(tuple(quantities))
    ),
    requested_model=st.sampled_from(["", "o3"]),
    tier=st.sampled_from(["", "default", "batch"]),
)


@given(st.lists(LINES, min_size=1, max_size=4), st.integers(0, 2 * NOW))
def test_asking_beforehand_equals_rating_the_event_equals_the_rule(lines: list[UsageLine], time: int) -> None:
    operations = RatingOperations(CATALOGUE, clock=lambda: NOW)

    asked = operations.rate_lines(lines, at=time, attribution=Attribution(feature_id="chat"))

    assert asked == operations.rate_event(event_at(time, *lines))
    assert asked == rate(lines, CATALOGUE.book(), at=time, burn_table=default_burn_table(), feature_id="chat")
    # Either there is a figure or a reason, and never both.
    assert (asked.cost is None) is any(cause.cost for cause in asked.unrated)
    assert (asked.charge is None) is any(cause.charge for cause in asked.unrated)
    if asked.charge is not None:
        products = (part.exact for line in asked.lines for part in line.components)
        assert asked.charge.nanos == round(sum(products, Fraction(0)) * 1000)
