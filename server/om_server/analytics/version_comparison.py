"""The versions of one prompt side by side. Which of them are registered is another slice's to say. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from om_server.analytics.counters import Counters
from om_server.analytics.query import UsageRow
from om_server.core.money import round_half_even


@dataclass(frozen=True, slots=True)
class VersionSpend:
    """What the events of one version cost; None for those without a version."""

    version: int | None
    registered: bool
    counters: Counters

    @property
    def average_cost(self) -> int | None:
        """Nano-dollars for each event, half-even; None where no event is rated.

        Events that wait for a price are left out, as they are of the cost: unknown is not zero.
        """
        rated = self.counters.event_count - self.counters.unrated_count
        return round_half_even(self.counters.cost, rated) if rated > 0 else None


def compare_versions(rows: Iterable[UsageRow], version_count: int) -> tuple[VersionSpend, ...]:
    """Return sums that are grouped by version alone as a comparison, in the order of the versions.

    Every version from 1 to the count is registered and shown, also without events. Last come events
    without a version, if there are any.
    """
    found = {_version(row): row.counters for row in rows}
    numbers = {*range(1, version_count + 1), *(version for version in found if version is not None)}
    compared = [
        VersionSpend(number, registered=1 <= number <= version_count, counters=found.get(number, Counters()))
        for number in sorted(numbers)
    ]
    if None in found:
        compared.append(VersionSpend(None, registered=False, counters=found[None]))
    return tuple(compared)


def _version(row: UsageRow) -> int | None:
    (value,) = row.group
    return int(value.value) if value.value else None
