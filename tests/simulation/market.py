"""How owners change prices and markups while calls are in flight."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import TYPE_CHECKING

from om_server.core.ids import IdSource
from om_server.pipeline.rerating import UnratedRater
from om_server.rating.burn_table import BurnRule
from om_server.rating.burn_table_operations import BurnTableOperations
from om_server.rating.operations import RatingOperations
from om_server.rating.price import Price
from om_server.rating.price_operations import PriceOperations
from om_server.rating.store import TariffStore
from om_server.rating.stored import BurnTableDraft
from om_server.rating.tariff_source import StoredTariffs
from om_server.rating.unit_rate import PriceInvalid, Rate
from tests.simulation.oracle import require
from tests.simulation.tariff import EVER, LISTED, UNPRICED, Written

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from om_server.rating.catalogue import Catalogue
    from om_server.storage.database import Database
    from tests.server.pipeline.harness import SetClock, Tenant
    from tests.simulation.scenario import Scenario

_FACTORS = (Fraction(1, 2), Fraction(3, 4), Fraction(1), Fraction(3, 2), Fraction(2))
#: What a model costs that the price list does not have.
_FIRST = (Fraction("1.25"), Fraction(5))
_NOTHING = Fraction(0)


class Rates:
    """Rating over one database: a catalogue that all seeds share, and what owners store over it."""

    def __init__(
        self, database: Database, catalogue: Catalogue, clock: SetClock, *, chance: random.Random
    ) -> None:
        ids = IdSource(lambda: clock.now // 1000, chance.randbytes)
        self.store = TariffStore(database)
        tariffs = StoredTariffs(database, self.store, catalogue.book())
        self.rating = RatingOperations(catalogue, clock=clock, tariffs=tariffs)
        self.prices = PriceOperations(database, self.store, tariffs=tariffs, ids=ids, clock=clock)
        self.tables = BurnTableOperations(database, self.store, tariffs=tariffs, ids=ids, clock=clock)


class Market:
    """Changes, each held against the day from which it has to apply."""

    def __init__(self, scenario: Scenario, tenants: Sequence[Tenant], rates: Rates) -> None:
        self._scenario = scenario
        self._chance = scenario.chance
        self._tenants = tenants
        self._rates = rates
        self._numbers = itertools.count(1)
        world = scenario.world
        self.rater = UnratedRater(
            world.database,
            world.slices,
            limits=world.limits,
            versions=rates.store.versions,
            clock=world.clock,
        )

    def reprice(self) -> str:
        """Make a model dearer or cheaper: a raise waits until no card knows the old price."""
        return self._price(self._chance.choice(list(LISTED)), self._chance.choice(_FACTORS))

    def price_first(self) -> str:
        """Say what a model costs of which there are events already."""
        return self._price(UNPRICED, Fraction(1))

    def _price(self, model: str, factor: Fraction) -> str:
        tenant = self._chance.choice(self._tenants)
        rates = tuple(factor * rate for rate in LISTED.get(model, _FIRST))
        tariff = self._scenario.oracle.facts.tariffs[tenant.organization_id]
        now = self._scenario.world.clock.now
        wanted = Price(
            "price",
            "openai",
            model,
            (Rate("input_tokens", _decimal(rates[0])), Rate("output_tokens", _decimal(rates[1]))),
            effective_from=now if model in LISTED else None,
        )
        due = tariff.price_onset(model, factor, now)
        try:
            stored = self._rates.prices.create_price(
                tenant.organization_id, wanted, idempotency_key=f"price-{next(self._numbers)}"
            )
        except PriceInvalid as error:
            require(due is None, f"a price was refused: {error.message}")
            return f"{model} refused"
        onset = stored.price.effective_from
        onset = EVER if onset is None else onset
        require(onset == due, f"a price of {factor} applies from {onset}, and not from {due}")
        self._count(tenant, raised=onset > now, first=onset == EVER)
        tariff.entries.append(Written(model, onset, now, (rates[0], rates[1]), _NOTHING))
        return f"{model} times {factor}"

    def mark_up(self) -> str:
        """Activate a burn table."""
        tenant, markup = self._chance.choice(self._tenants), 1000 * self._chance.choice(_FACTORS)
        tariff = self._scenario.oracle.facts.tariffs[tenant.organization_id]
        now = self._scenario.world.clock.now
        due = tariff.markup_onset(markup, now)
        draft = BurnTableDraft("a table", (BurnRule(credits_per_cost=_decimal(markup)),))
        made = self._rates.tables.create_burn_table(
            tenant.organization_id, draft, idempotency_key=f"table-{next(self._numbers)}"
        )
        state = self._rates.tables.activate_burn_table(tenant.organization_id, made.table.burn_table_id)
        require(
            state.effective_time == due,
            f"a markup of {markup} applies from {state.effective_time}, not {due}",
        )
        self._count(tenant, raised=due > now, first=False)
        tariff.entries.append(Written("", due, now, (_NOTHING, _NOTHING), markup))
        return f"{markup}"

    def _count(self, tenant: Tenant, *, raised: bool, first: bool) -> None:
        meetings, flying = self._scenario.meetings, self._scenario.in_flight(tenant)
        if first:
            waiting = self._scenario.oracle.rows(
                "SELECT 1 FROM usage_events WHERE organization_id = ? AND state = 'UNRATED'",
                tenant.organization_id,
            )
            meetings["first price for an event without one"] += bool(waiting)
        elif flying:
            meetings["raise against a call in flight" if raised else "cut against a call in flight"] += 1

    def rate(self) -> str:
        """One look of the worker at what settled without a price."""
        return f"a step: {self.rater.advance()}"

    def rate_all(self) -> None:
        """Rate what has a price by now."""
        for tenant in self._tenants:
            self.rater.rate(tenant.organization_id)


def _decimal(value: Fraction) -> str:
    text = f"{float(value):.6f}".rstrip("0").rstrip(".")
    assert Fraction(text) == value
    return text
