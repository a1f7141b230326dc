"""Facets: some of the dimensions of a series, by which sums are kept beside those by all of them. Pure.

Users make most of the rows of rollups and few questions name them; a facet has so few rows that a
month of them is read at once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from enum import Enum

from om_server.analytics.rollup import TAG_ALL, RollupDelta
from om_server.analytics.series import Dimensions, Series
from om_server.analytics.tally import Tally


class Facet(Enum):
    """Which dimensions are told apart, those of the fewest rows first."""

    #: None: what happened in all.
    TOTAL = "total"
    #: What was called, and how.
    PRODUCT = "product"
    #: Who called.
    CONSUMER = "consumer"
    #: Who called one provider. Its rows are those of a facet for each provider, so that one is read alone.
    PROVIDER_CONSUMER = "consumer:"

    @property
    def of_consumers(self) -> bool:
        """Whether sums are by who called: there are so many that they are kept by the day, without tags."""
        return self in (Facet.CONSUMER, Facet.PROVIDER_CONSUMER)

    def place(self, provider: str) -> str:
        """Return under which name the sums of a provider are stored."""
        return f"{self.value}{provider}" if self is Facet.PROVIDER_CONSUMER else self.value


_NAMES = tuple(field.name for field in fields(Series))

#: The sandbox is in all, because nearly every sum leaves it out.
_SANDBOX = frozenset({"sandbox"})
_CONSUMER = _SANDBOX | {"customer_id", "user_id"}
_FIELDS: Mapping[Facet, frozenset[str]] = {
    Facet.TOTAL: _SANDBOX,
    Facet.PRODUCT: frozenset(_NAMES) - _CONSUMER | _SANDBOX,
    Facet.CONSUMER: _CONSUMER,
    Facet.PROVIDER_CONSUMER: _CONSUMER | {"provider"},
}
_EMPTY = Series().dimensions
#: Takes out of the dimensions of a series those that a facet knows.
_KNOWN: Mapping[Facet, Callable[[Dimensions], object]] = {
    facet: operator.itemgetter(*(place for place, name in enumerate(_NAMES) if name in known))
    for facet, known in _FIELDS.items()
}


def facet_of(names: Collection[str], *, by_all_tags: bool, of_providers: bool = False) -> Facet | None:
    """Return the facet of the fewest rows that tells these fields of a series apart; None where none does.

    `by_all_tags` says that tags do not matter: sums of consumers are kept without them. `of_providers`
    says that the question names its providers and asks for no quantities: those of the consumers of
    one provider are not kept.
    """
    for facet, known in _FIELDS.items():
        if not known.issuperset(names) or (facet.of_consumers and not by_all_tags):
            continue
        if facet is not Facet.PROVIDER_CONSUMER or of_providers:
            return facet
    return None


def narrowed(delta: RollupDelta, facet: Facet) -> RollupDelta:
    """Return the sums by the dimensions of a facet. Sums of consumers are kept for all tags together."""
    ids, series = _narrow_series(delta.series, facet)
    tally, skips_tags = Tally(), facet.of_consumers
    for (organization_id, hour, tag, series_id), row in delta.counters.items():
        if not skips_tags or tag == TAG_ALL:
            tally.row((organization_id, hour, tag, ids[organization_id, series_id])).count(row.numbers)
    for (organization_id, hour, tag, series_id, unit), quantity in delta.quantities.items():
        if not skips_tags or tag == TAG_ALL:
            narrow = tally.row((organization_id, hour, tag, ids[organization_id, series_id]))
            narrow.measure(unit, quantity.amount, quantity.estimated_amount)
    return tally.delta(series)


def _narrow_series(
    whole: Mapping[tuple[str, str], Series], facet: Facet
) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], Series]]:
    """Return the id in the facet of every series, by (organization_id, series_id), and the facet's series."""
    known, names = _KNOWN[facet], _FIELDS[facet]
    found: dict[tuple[str, object], str] = {}
    ids: dict[tuple[str, str], str] = {}
    narrow: dict[tuple[str, str], Series] = {}
    for (organization_id, series_id), one in whole.items():
        dimensions = one.dimensions
        place = organization_id, known(dimensions)
        narrow_id = found.get(place)
        if narrow_id is None:
            named = zip(_NAMES, dimensions, _EMPTY, strict=True)
            kept = Series(*(value if name in names else empty for name, value, empty in named))  # type: ignore[arg-type]  # In the order of the fields.
            narrow_id = found[place] = kept.series_id
            narrow[organization_id, narrow_id] = kept
        ids[organization_id, series_id] = narrow_id
    return ids, narrow
