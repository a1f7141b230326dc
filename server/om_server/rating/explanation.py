"""Explains charges that were made: a settled event is rated again under the versions it was settled with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from om_server.core.errors import NotFound
from om_server.rating.arithmetic import UnratedReason
from om_server.rating.burn_table import DEFAULT_VERSION, burn_table
from om_server.rating.rate import Rating, Unrated, rate

if TYPE_CHECKING:
    from om_server.core.event import UsageLine
    from om_server.core.money import Money
    from om_server.rating.burn_table_operations import BurnTableOperations
    from om_server.rating.tariff_source import StoredTariffs


@dataclass(frozen=True, slots=True)
class SettledCharge:
    """What was settled of an event, and with which versions. Cost and charge are None while it is unrated.

    `lines` are those that were rated: an event that was not to be rated has none.
    """

    source: str
    event_id: str
    event_time: int
    customer_id: str
    feature_id: str
    lines: tuple[UsageLine, ...]
    cost: Money | None
    charge: Money | None
    burn_table_version: str
    price_versions: tuple[str, ...]


class ChargeReader(Protocol):
    """Gives a settled event of an organization; None if there is none."""

    def __call__(self, organization_id: str, *, source: str, event_id: str) -> SettledCharge | None:
        """Read it."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The arithmetic of a charge, and whether it leads to exactly what was settled."""

    settled: SettledCharge
    rating: Rating

    @property
    def exact(self) -> bool:
        """Whether cost, charge and versions are those of the settlement."""
        settled, rating = self.settled, self.rating
        if settled.cost is None or settled.charge is None:
            # An unrated event is stored without either, even where one of the two is known.
            return rating.cost is None or rating.charge is None
        versions = (rating.burn_table_version, tuple(line.price_version for line in rating.lines))
        return (rating.cost, rating.charge, *versions) == (
            settled.cost,
            settled.charge,
            settled.burn_table_version or rating.burn_table_version,
            settled.price_versions,
        )


class Explanations:
    """Explains charges of any organization, one at a time."""

    def __init__(
        self, tariffs: StoredTariffs, burn_tables: BurnTableOperations, *, charges: ChargeReader
    ) -> None:
        self._tariffs = tariffs
        self._burn_tables = burn_tables
        self._charges = charges

    def explain(self, organization_id: str, *, source: str, event_id: str) -> Explanation:
        """Rate a settled event again as it was rated; NOT_FOUND if there is none."""
        settled = self._charges(organization_id, source=source, event_id=event_id)
        if settled is None:
            raise NotFound("event", event_id)
        if not settled.lines and settled.charge is None:
            # Deferred, or its end was never seen: something was consumed, and nothing says how much.
            missing = Unrated(UnratedReason.USAGE_MISSING, None)
            return Explanation(settled, Rating(None, None, (), settled.burn_table_version, (missing,)))
        table_id = settled.burn_table_version or DEFAULT_VERSION
        table = self._burn_tables.stored_table(organization_id, table_id)
        # A version joins the names of the stored prices that it was made of.
        names = {part for version in settled.price_versions for part in version.split("+")}
        return Explanation(
            settled,
            rate(
                settled.lines,
                self._tariffs.book_of(organization_id, names),
                at=settled.event_time,
                burn_table=burn_table(table_id, table.rules),
                feature_id=settled.feature_id,
            ),
        )
