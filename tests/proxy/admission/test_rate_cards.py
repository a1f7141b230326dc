"""How long a card is right, when it is asked for again, and what a model costs that only an answer names."""

from __future__ import annotations

import asyncio

import pytest

from om_proxy.admission.rate_cards import Card, RateCards
from om_proxy.server.server_client import ServerAway
from tests.proxy.bank import KNOWN, ORG, Bank, Clock, settle


class Shelf:
    """Cards of a server of the test's."""

    def __init__(self) -> None:
        self.bank, self.clock = Bank(), Clock()
        self.cards = RateCards(self.bank, clock=self.clock)

    async def find(self, model: str = "gpt-4o", customer_id: str = "acme") -> Card:
        return await self.cards.find(KNOWN, customer_id, provider="openai", model=model)

    @property
    def asked(self) -> int:
        return self.bank.count("GetRateCard")


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


async def test_a_card_is_asked_for_again_behind_the_calls_and_for_each_model_and_customer(
    shelf: Shelf,
) -> None:
    await shelf.find()
    shelf.clock.now = 19
    await shelf.find()
    assert shelf.asked == 1
    await shelf.find("gpt-4o-mini")
    await shelf.find(customer_id="other")
    assert shelf.asked == 3

    shelf.clock.now = 21
    await shelf.find()
    await settle()
    assert shelf.asked == 4
    shelf.clock.now = 61
    await shelf.find()
    assert shelf.asked == 4


async def test_a_card_that_has_ended_is_not_used(shelf: Shelf) -> None:
    await shelf.find()
    shelf.bank.rate *= 2
    shelf.clock.now = 60

    assert (await shelf.find()).rates.per_million["output_tokens"] == shelf.bank.rate
    shelf.clock.now = 120
    shelf.bank.down = True
    with pytest.raises(ServerAway):
        await shelf.find()


async def test_a_change_renews_the_cards_of_its_organization_behind_the_next_call(shelf: Shelf) -> None:
    await shelf.find()
    shelf.cards.renew("org_other")
    await shelf.find()
    assert shelf.asked == 1

    shelf.bank.rate *= 2
    shelf.cards.renew(ORG)
    assert (await shelf.find()).rates.per_million["output_tokens"] == shelf.bank.rate // 2
    await settle()
    assert (await shelf.find()).rates.per_million["output_tokens"] == shelf.bank.rate


async def test_a_change_for_everybody_renews_all(shelf: Shelf) -> None:
    await shelf.find()
    shelf.cards.renew("")
    await shelf.find()
    await settle()

    assert shelf.asked == 2


async def test_a_first_price_is_known_to_the_next_call(shelf: Shelf) -> None:
    shelf.bank.priced = False
    assert not (await shelf.find()).rates.priced
    shelf.bank.priced = True
    shelf.cards.renew("")

    assert (await shelf.find()).rates.priced


async def test_a_card_that_was_on_its_way_when_rates_changed_is_asked_for_again(shelf: Shelf) -> None:
    shelf.bank.answers.clear()
    asking = asyncio.create_task(shelf.find())
    await settle()
    shelf.cards.renew(ORG)
    shelf.bank.answers.set()
    await asking
    await shelf.find()

    assert shelf.asked == 2


async def test_a_model_that_only_an_answer_names_is_known_the_next_time(shelf: Shelf) -> None:
    card = await shelf.find()
    rates_of = shelf.cards.rates_of(KNOWN, "acme", model="gpt-4o", rates=card.rates)

    assert rates_of("openai", "gpt-4o") is card.rates
    assert rates_of("openai", "gpt-4o-2024-08-06") is None
    await settle()
    assert rates_of("openai", "gpt-4o-2024-08-06") == card.rates
    assert shelf.asked == 2


async def test_a_call_keeps_the_rates_with_which_it_began(shelf: Shelf) -> None:
    card = await shelf.find()
    rates_of = shelf.cards.rates_of(KNOWN, "acme", model="gpt-4o", rates=card.rates)
    shelf.bank.rate //= 2
    shelf.clock.now = 60
    await shelf.find()

    found = rates_of("openai", "gpt-4o")
    assert found is not None
    assert found.per_million["output_tokens"] == 2 * shelf.bank.rate


async def test_what_was_missed_makes_every_card_unknown(shelf: Shelf) -> None:
    await shelf.find()
    shelf.cards.drop_all()
    await shelf.find()

    assert shelf.asked == 2


async def test_a_thread_that_reads_a_large_answer_finds_rates_too(shelf: Shelf) -> None:
    card = await shelf.find()
    rates_of = shelf.cards.rates_of(KNOWN, "acme", model="gpt-4o", rates=card.rates)

    assert await asyncio.to_thread(rates_of, "openai", "gpt-4o-2024-08-06") is None
    await settle()
    assert await asyncio.to_thread(rates_of, "openai", "gpt-4o-2024-08-06") == card.rates
    assert shelf.asked == 2
