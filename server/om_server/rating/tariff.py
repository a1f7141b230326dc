"""An organization's tariff: its prices over the catalogue's, and which burn table applies to whom when.

A tariff is a snapshot that never changes; its version names what was stored when it was made.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

from om_server.rating.burn_table import BurnTable, default_burn_table
from om_server.rating.price_book import PriceBook


@dataclass(frozen=True, slots=True)
class Activation:
    """From when a burn table applies, until the next activation of the same customer."""

    burn_table_id: str
    effective_time: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """The activations of a customer or the organization. Of two at one time the later written counts."""

    activations: tuple[Activation, ...] = ()
    times: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", tuple(found.effective_time for found in self.activations))

    def at(self, time: int) -> Activation | None:
        """Return what applies at a time; None before the first."""
        index = bisect_right(self.times, time)
        return self.activations[index - 1] if index else None


_NOTHING = Timeline()


class Tariff:
    """What rates the usage of one organization."""

    def __init__(
        self,
        version: str,
        book: PriceBook,
        *,
        timelines: Mapping[str, Timeline] | None = None,
        burn_tables: Mapping[str, BurnTable] | None = None,
    ) -> None:
        self.version = version
        self.book = book
        self._default = default_burn_table()
        self._timelines = dict(timelines or {})
        self._burn_tables = {self._default.version: self._default, **(burn_tables or {})}

    def timeline(self, customer_id: str) -> Timeline:
        """Return the activations of a customer; of the organization itself for an empty id."""
        return self._timelines.get(customer_id, _NOTHING)

    def burn_table(self, customer_id: str, at: int) -> BurnTable:
        """Return the table that rates a customer's events of a time."""
        if not self._timelines:
            return self._default
        own = self.timeline(customer_id).at(at) if customer_id else None
        found = own or self.timeline("").at(at)
        return self._default if found is None else self._burn_tables[found.burn_table_id]

    def burn_tables(self, customer_id: str, since: int, until: int) -> tuple[BurnTable, ...]:
        """Return every table that rates a customer's events of some time in a span, each once."""
        times = [since]
        for timeline in (self.timeline(customer_id), self.timeline("")):
            times += [time for time in timeline.times if since < time < until]
        return tuple(
            {id(table): table for time in times for table in [self.burn_table(customer_id, time)]}.values()
        )
