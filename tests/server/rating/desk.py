"""Rating over one database at a time that the test sets, as the composition root joins it."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from om_server.core.event import Attribution, Event, EventType, UsageLine
from om_server.core.ids import IdSource
from om_server.core.usage import Usage
from om_server.rating.burn_table import BurnRule
from om_server.rating.burn_table_operations import BurnTableOperations, BurnTableState
from om_server.rating.catalogue import Catalogue
from om_server.rating.model import Model
from om_server.rating.operations import RatingOperations
from om_server.rating.price import Price
from om_server.rating.price_operations import PriceOperations
from om_server.rating.rate import Rating
from om_server.rating.store import TariffStore
from om_server.rating.stored import BurnTableDraft
from om_server.rating.tariff_source import StoredTariffs
from om_server.rating.unit_rate import Rate
from om_server.storage.database import Database

SECOND = 1_000_000
START = 1_790_000_000 * SECOND
LEAD = 120 * SECOND
CREDIT = 10**9
ORG = "org_a"

CATALOGUE = Catalogue(
    version="list",
    prices=(
        Price("list/m", "openai", "m", (Rate("input_tokens", "2"), Rate("output_tokens", "10"))),
        Price("list/m/batch", "openai", "m", (Rate("input_tokens", "1"),), "batch"),
    ),
    models=(Model("openai", "m", aliases=("nickname",)),),
    fallback_providers={"azure": ("openai",)},
)


@dataclass
class Desk:
    """Everything of rating that touches the database. `now` may be moved."""

    database: Database
    now: int = START
    keys: int = 0
    store: TariffStore = field(init=False)

    def __post_init__(self) -> None:
        ids = IdSource(lambda: self.now // 1000, secrets.token_bytes)
        self.store = TariffStore(self.database)
        self.tariffs = StoredTariffs(self.database, self.store, CATALOGUE.book())
        self.rating = RatingOperations(CATALOGUE, clock=self.clock, tariffs=self.tariffs)
        self.tables = BurnTableOperations(
            self.database, self.store, tariffs=self.tariffs, ids=ids, clock=self.clock
        )
        self.prices = PriceOperations(
            self.database, self.store, tariffs=self.tariffs, ids=ids, clock=self.clock
        )

    def clock(self) -> int:
        return self.now

    def key(self) -> str:
        self.keys += 1
        return f"key {self.keys}"

    def table(self, *rules: BurnRule, customer: str = "", org: str = ORG) -> str:
        """Store a table and return its id."""
        draft = BurnTableDraft("a table", rules, customer)
        return self.tables.create_burn_table(org, draft, idempotency_key=self.key()).table.burn_table_id

    def activate(self, table_id: str, *, at: int | None = None, org: str = ORG) -> BurnTableState:
        return self.tables.activate_burn_table(org, table_id, effective_time=at)

    def price(
        self,
        rates: Sequence[Rate],
        *,
        model: str = "m",
        provider: str = "openai",
        tier: str = "standard",
        since: int | None = None,
        until: int | None = None,
        org: str = ORG,
    ) -> Price:
        """Store a price and return it as it was stored."""
        wanted = Price("price", provider, model, tuple(rates), tier, effective_from=since, effective_to=until)
        return self.prices.create_price(org, wanted, idempotency_key=self.key()).price

    def rate(self, line: UsageLine, *, at: int | None = None, customer: str = "", org: str = ORG) -> Rating:
        return self.rating.rate_lines(
            [line], at=at, organization_id=org, attribution=Attribution(customer_id=customer)
        )


def used(model: str = "m", *, provider: str = "openai", tier: str = "", **amounts: int) -> UsageLine:
    """A line; a million input tokens where nothing is said."""
    return UsageLine(provider, model, Usage.measured(**(amounts or {"input_tokens": 10**6})), tier=tier)


def event(line: UsageLine, *, at: int, customer: str = "", org: str = ORG) -> Event:
    return Event(
        organization_id=org,
        source="api",
        event_id="evt",
        event_type=EventType.TOKEN_USAGE,
        event_time=at,
        receive_time=at,
        attribution=Attribution(customer_id=customer),
        lines=(line,),
    )


def nanos(rating: Rating) -> int | None:
    return None if rating.charge is None else rating.charge.nanos
