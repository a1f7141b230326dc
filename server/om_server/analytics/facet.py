"""Facets: some of the dimensions of a series, by which sums are kept beside those by all of them. Pure.

Users make most of the rows of rollups and few questions name them; a facet has so few rows that a
month of them is read at once.
"""

from collections.abc import Collection, Mapping
from dataclasses import fields
from enum import Enum

from om_server.analytics.rollup import (
    TAG_ALL,
    Counters,
    QuantityKey,
    QuantitySum,
    RollupDelta,
    RollupKey,
    Series,
)


class Facet(Enum):
    """Which dimensions are told apart. A facet is stored under its value."""

    #: None: what happened in all.
    TOTAL = "total"
    #: What was called, and how.
    PRODUCT = "product"
    #: Who called.
    CONSUMER = "consumer"


_NAMES = tuple(field.name for field in fields(Series))

#: The sandbox is in all, because nearly every sum leaves it out.
_SANDBOX = frozenset({"sandbox"})
_CONSUMER = _SANDBOX | {"customer_id", "user_id"}
_FIELDS: Mapping[Facet, frozenset[str]] = {
    Facet.TOTAL: _SANDBOX,
    Facet.PRODUCT: frozenset(_NAMES) - _CONSUMER | _SANDBOX,
    Facet.CONSUMER: _CONSUMER,
}
_EMPTY = Series().dimensions
#: The places of the dimensions that are empty in a facet's series.
_EMPTIED: Mapping[Facet, tuple[int, ...]] = {
    facet: tuple(place for place, name in enumerate(_NAMES) if name not in known)
    for facet, known in _FIELDS.items()
}


def facet_of(names: Collection[str], *, by_all_tags: bool) -> Facet | None:
    """Return the facet of the fewest rows that tells these fields of a series apart; None where none does.

    `by_all_tags` says that tags do not matter: sums of consumers are kept without them.
    """
    for facet, known in _FIELDS.items():
        if known.issuperset(names) and (by_all_tags or facet is not Facet.CONSUMER):
            return facet
    return None


def narrowed(delta: RollupDelta, facet: Facet) -> RollupDelta:
    """Return the sums by the dimensions of a facet. Sums of consumers are kept for all tags together."""
    ids, series = _narrow_series(delta.series, facet)
    # Plain numbers that grow: a value made for each addition would take most of the time.
    counters: dict[RollupKey, list[int]] = {}
    skips_tags = facet is Facet.CONSUMER
    for (organization_id, hour, tag, series_id), row in delta.counters.items():
        if skips_tags and tag != TAG_ALL:
            continue
        narrow_key = RollupKey(organization_id, hour, tag, ids[organization_id, series_id])
        sums = counters.setdefault(narrow_key, [0, 0, 0, 0, 0, 0])
        sums[0] += row.event_count
        sums[1] += row.unrated_count
        sums[2] += row.estimated_count
        sums[3] += row.unknown_count
        sums[4] += row.cost
        sums[5] += row.charge
    quantities: dict[QuantityKey, list[int]] = {}
    for (organization_id, hour, tag, series_id, unit), quantity in delta.quantities.items():
        if skips_tags and tag != TAG_ALL:
            continue
        quantity_key = QuantityKey(organization_id, hour, tag, ids[organization_id, series_id], unit)
        sums = quantities.setdefault(quantity_key, [0, 0])
        sums[0] += quantity.amount
        sums[1] += quantity.estimated_amount
    return RollupDelta(
        series,
        {key: Counters(*numbers) for key, numbers in counters.items()},
        {key: QuantitySum(*numbers) for key, numbers in quantities.items()},
    )


def _narrow_series(
    whole: Mapping[tuple[str, str], Series], facet: Facet
) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], Series]]:
    """Return the id in the facet of every series, by (organization_id, series_id), and the facet's series."""
    places = _EMPTIED[facet]
    found: dict[tuple[object, ...], str] = {}
    ids: dict[tuple[str, str], str] = {}
    narrow: dict[tuple[str, str], Series] = {}
    for (organization_id, series_id), one in whole.items():
        values = list(one.dimensions)
        for place in places:
            values[place] = _EMPTY[place]
        known = organization_id, *values
        if known not in found:
            kept = Series(*values)  # type: ignore[arg-type]  # In the order of the fields.
            found[known] = kept.series_id
            narrow[organization_id, kept.series_id] = kept
        ids[organization_id, series_id] = found[known]
    return ids, narrow
