import pytest

from om_server.core.errors import IdempotencyKeyReused, PageTokenInvalid
from om_server.core.money import CurrencyMismatch
from om_server.core.page import PageRequest
from om_server.rating.price import Price
from om_server.rating.price_operations import PriceFilter, PriceOverlap
from om_server.rating.unit_rate import PriceInvalid, Rate
from tests.server.rating.desk import CREDIT, LEAD, ORG, SECOND, START, Desk, nanos, used

CHEAP, DEAR = Rate("input_tokens", "1"), Rate("input_tokens", "5")
SEARCH = Rate("web_searches", "0.01", 1)


def test_a_price_of_an_organization_stands_over_the_catalogue_unit_by_unit(desk: Desk) -> None:
    price = desk.price([CHEAP])

    both = desk.rate(used(input_tokens=10**6, output_tokens=10**6))

    assert nanos(both) == 11_000 * CREDIT
    assert both.price_versions == (f"{price.version}+list/m",)
    assert nanos(desk.rate(used(), org="org_b")) == 2_000 * CREDIT


@pytest.mark.parametrize("since", [None, START - 10**12, START, START + LEAD - 1])
def test_a_raise_is_moved_to_two_card_lives(desk: Desk, since: int | None) -> None:
    price = desk.price([DEAR], since=since)

    assert price.effective_from == START + LEAD
    assert nanos(desk.rate(used(), at=START + LEAD - 1)) == 2_000 * CREDIT
    assert nanos(desk.rate(used(), at=START + LEAD)) == 5_000 * CREDIT


@pytest.mark.parametrize(("since", "begins"), [(None, START), (0, START), (START + 5, START + 5)])
def test_a_lower_price_begins_when_it_is_wished_and_never_in_the_past(
    desk: Desk, since: int | None, begins: int
) -> None:
    assert desk.price([CHEAP], since=since).effective_from == begins
    assert nanos(desk.rate(used(), at=START - 1)) == 2_000 * CREDIT
    assert nanos(desk.rate(used(), at=begins)) == 1_000 * CREDIT


@pytest.mark.parametrize("since", [None, START - 10**12])
def test_the_first_price_of_a_unit_may_be_dated_back_and_rates_what_was_unrated(
    desk: Desk, since: int | None
) -> None:
    line = used(input_tokens=10**6, web_searches=3)
    assert nanos(desk.rate(line, at=START - 10)) is None

    assert desk.price([SEARCH], since=since).effective_from == since

    assert nanos(desk.rate(line, at=START - 10)) == 2_030 * CREDIT
    assert nanos(desk.rate(used(), at=START - 10)) == 2_000 * CREDIT


def test_the_first_price_of_a_model_may_be_dated_back(desk: Desk) -> None:
    price = desk.price([DEAR], model="Brand-New", provider="OPENAI")

    assert (price.provider, price.model, price.effective_from) == ("openai", "brand-new", None)
    assert nanos(desk.rate(used("brand-new-2026-01-01"), at=0)) == 5_000 * CREDIT


def test_a_second_price_of_a_unit_is_no_first_one(desk: Desk) -> None:
    desk.price([SEARCH], since=START - 100)

    assert desk.price([Rate("web_searches", "0.02", 1)], since=START - 50).effective_from == START + LEAD


def test_a_unit_that_was_charged_as_another_one_had_a_rate(desk: Desk) -> None:
    # Cached input costs what input costs, where no cache price is listed.
    assert desk.price([Rate("cache_read_tokens", "0.2")]).effective_from == START
    assert desk.price([Rate("cache_read_tokens", "3")]).effective_from == START + LEAD


@pytest.mark.parametrize(("rate", "moved"), [("2", False), ("2.01", True)])
def test_the_first_price_of_a_tier_is_not_above_what_edges_bound_the_unit_with(
    desk: Desk, rate: str, *, moved: bool
) -> None:
    price = desk.price([Rate("input_tokens", rate)], tier="flex")

    assert price.effective_from == (START + LEAD if moved else None)


def test_a_price_for_another_cloud_keeps_the_rates_that_its_models_had(desk: Desk) -> None:
    price = desk.price([Rate("input_tokens", "1.5")], provider="azure-openai", model="nickname")

    assert (price.provider, price.model, price.effective_from) == ("azure", "m", START)
    line = used("nickname", provider="azure", input_tokens=10**6, output_tokens=10**6)
    assert nanos(desk.rate(line)) == 11_500 * CREDIT
    assert nanos(desk.rate(used())) == 2_000 * CREDIT


def test_a_later_price_supersedes_an_open_one_and_a_closed_one_gives_back(desk: Desk) -> None:
    desk.price([CHEAP], since=START)
    desk.price([Rate("input_tokens", "0.5")], since=START + 100, until=START + 200)

    charges = [nanos(desk.rate(used(), at=START + after)) for after in (-1, 0, 99, 100, 199, 200)]

    assert charges == [2_000 * CREDIT] + [1_000 * CREDIT] * 2 + [500 * CREDIT] * 2 + [1_000 * CREDIT]


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (START + 100, None),
        (START + 150, None),
        (START + 50, START + 101),
        (START, None),
        (START + 199, START + 300),
    ],
)
def test_prices_of_one_unit_and_time_are_refused(desk: Desk, since: int, until: int | None) -> None:
    there = desk.price([CHEAP], since=START + 100, until=START + 200)
    version = desk.database.read(lambda: desk.store.version(ORG))

    with pytest.raises(PriceOverlap) as raised:
        desk.price([Rate("input_tokens", "0.5")], since=since, until=until)

    assert (raised.value.reason, raised.value.field) == ("PRICE_INVALID", "price.effective_time")
    assert there.version in raised.value.message
    assert desk.database.read(lambda: desk.store.version(ORG)) == version
    assert len(desk.database.read(lambda: desk.store.prices(ORG))) == 1


@pytest.mark.parametrize(("since", "until"), [(START + 200, None), (START + 50, START + 100)])
def test_prices_side_by_side_and_of_other_units_are_not_refused(
    desk: Desk, since: int, until: int | None
) -> None:
    desk.price([CHEAP], since=START + 100, until=START + 200)

    desk.price([Rate("input_tokens", "0.5")], since=since, until=until)
    desk.price([Rate("output_tokens", "0.5")], since=START + 100, until=START + 200)


def test_a_price_that_would_end_before_it_may_begin_is_refused(desk: Desk) -> None:
    with pytest.raises(PriceInvalid) as raised:
        desk.price([DEAR], since=START, until=START + LEAD)

    assert raised.value.field == "price.expire_time"
    assert desk.database.read(lambda: desk.store.prices(ORG)) == []


def test_another_currency_is_refused(desk: Desk) -> None:
    with pytest.raises(CurrencyMismatch) as raised:
        desk.prices.create_price(
            ORG, Price("p", "openai", "m", (CHEAP,), currency="EUR"), idempotency_key="k"
        )

    assert raised.value.metadata == {"currency": "EUR", "other_currency": "USD"}


def test_a_repeat_gives_the_same_price_and_other_content_conflicts(desk: Desk) -> None:
    wanted = Price("p", "openai", "m", (CHEAP,))
    first = desk.prices.create_price(ORG, wanted, idempotency_key="k")
    desk.now += SECOND

    assert desk.prices.create_price(ORG, wanted, idempotency_key="k") == first
    with pytest.raises(IdempotencyKeyReused):
        desk.prices.create_price(ORG, Price("p", "openai", "m", (DEAR,)), idempotency_key="k")


def test_prices_are_listed_as_they_rate_in_pages(desk: Desk) -> None:
    cheap = desk.price([CHEAP], since=START + 10)

    def listed(wanted: PriceFilter, size: int) -> list[tuple[str, str, int | None]]:
        found, token = [], ""
        while True:
            page = desk.prices.list_prices(ORG, wanted, page=PageRequest.of(size, token))
            found += [(price.version, price.tier, price.effective_from) for price in page.prices]
            token = page.next_page_token
            if not token:
                return found

    everything = [
        ("list/m/batch", "batch", None),
        ("list/m", "standard", None),
        (f"{cheap.version}+list/m", "standard", START + 10),
    ]
    assert listed(PriceFilter(), 1) == listed(PriceFilter("OPENAI", "M"), 50) == everything
    assert listed(PriceFilter(at=START), 50) == everything[:2]
    assert listed(PriceFilter(at=START + 10), 50) == [everything[0], everything[2]]
    assert listed(PriceFilter("google"), 50) == []
    token = desk.prices.list_prices(ORG, PriceFilter(), page=PageRequest.of(1)).next_page_token
    with pytest.raises(PageTokenInvalid):
        desk.prices.list_prices(ORG, PriceFilter("openai"), page=PageRequest.of(1, token))
