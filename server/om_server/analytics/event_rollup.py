"""Settled events as rollups: which rows an event adds to, and what. Pure."""

from collections.abc import Iterable, Iterator

from om_server.analytics.counters import Counters, Numbers, QuantitySum
from om_server.analytics.rollup import TAG_ALL, RollupDelta
from om_server.analytics.series import Dimensions, Series, dimensions_of
from om_server.analytics.settled import SettledEvent, SettledLine
from om_server.analytics.tally import Tally, TallyRow
from om_server.core.event import Outcome
from om_server.core.hours import hour_of
from om_server.core.usage import Certainty

_NO_TAGS = (TAG_ALL,)
_ESTIMATED = Certainty.ESTIMATED


def roll_up(batch: Iterable[SettledEvent]) -> RollupDelta:
    """Sum settled events.

    An event counts once, in the series of its first line; each line's share of cost and charge and
    its quantities go to the line's own series. Each tag is given the whole event.
    """
    found: dict[Dimensions, str] = {}
    series: dict[tuple[str, str], Series] = {}
    tally = Tally()
    for settled in batch:
        event = settled.event
        organization_id, tags = event.organization_id, event.attribution.tags
        hour = hour_of(event.event_time)
        for line, counted in _shares(settled):
            dimensions = dimensions_of(event, line)
            series_id = found.get(dimensions) or found.setdefault(dimensions, Series(*dimensions).series_id)
            if (organization_id, series_id) not in series:
                series[organization_id, series_id] = Series(*dimensions)
            # An empty tag, or one that is named twice, would count the event twice.
            for tag in (TAG_ALL, *dict.fromkeys(filter(None, tags))) if tags else _NO_TAGS:
                row = tally.row((organization_id, hour, tag, series_id))
                row.count(counted)
                if line is not None:
                    _measure(row, line)
    return tally.delta(series)


def correction(before: Iterable[SettledEvent], after: Iterable[SettledEvent]) -> RollupDelta:
    """Return what to add so that sums over `before` become sums over `after`, the same events."""
    delta = roll_up(after) + -roll_up(before)
    return RollupDelta(
        delta.series,
        {key: row for key, row in delta.counters.items() if row != Counters()},
        {key: quantity for key, quantity in delta.quantities.items() if quantity != QuantitySum()},
    )


def _measure(row: TallyRow, line: SettledLine) -> None:
    for quantity in line.line.usage.quantities:
        amount = quantity.amount
        # What is unknown is not zero: it is left out.
        if amount is not None:
            row.measure(quantity.unit, amount, amount if quantity.certainty is _ESTIMATED else 0)


def _shares(settled: SettledEvent) -> Iterator[tuple[SettledLine | None, Numbers]]:
    """Yield each line with what it adds; an event without lines yields itself."""
    counts = (
        1,
        int(not settled.rated),
        int(any(line.line.usage.estimated for line in settled.lines)),
        int(_unknown(settled)),
    )
    for line in settled.lines or (None,):
        share = settled if line is None else line
        # Of a rated event neither is None: it would not exist.
        money = (share.cost or 0, share.charge or 0) if settled.rated else (0, 0)
        yield line, (*counts, *money)
        counts = (0, 0, 0, 0)


def _unknown(settled: SettledEvent) -> bool:
    """Whether consumption happened of which nobody knows how much."""
    outcome = settled.event.outcome
    if outcome is Outcome.ZERO:
        return False
    if not settled.lines:
        return outcome is Outcome.UNKNOWN
    return any(line.line.usage.unknown or not line.line.usage.quantities for line in settled.lines)
