"""The bodies of the aggregation API from rows of spend: snake_case, dollars as exact JSON numbers.

What waits for a price is in no cost; `unrated_count` tells how many requests that are. Pure.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal

from om.analytics.v1 import analytics_service_pb2 as pb
from om_server.core.calendar import CalendarSpan
from om_server.rest.documented.figure import exact
from om_server.rest.documented.spending_range import SpendingRange, local_day

#: What the proxy writes where a call names no prompt; a reported event may name none at all.
UNKNOWN = "unknown"

#: Decimals of a mean of nano-dollars, which is seldom a whole number of them.
_MEAN_PLACES = Decimal(1).scaleb(-12)


@dataclass(frozen=True, slots=True)
class Spending:
    """Sums: nano-dollars, requests, and how many of these have no price yet."""

    cost: int = 0
    requests: int = 0
    unrated: int = 0

    @classmethod
    def of(cls, row: pb.SpendRow | pb.VersionRow) -> "Spending":
        """What one row says."""
        return cls(row.cost.amount_nanos, row.event_count, row.unrated_count)

    def __add__(self, other: "Spending") -> "Spending":
        return Spending(self.cost + other.cost, self.requests + other.requests, self.unrated + other.unrated)

    def body(self) -> dict[str, object]:
        """The figures that every row of this family has."""
        return {
            "total_cost": exact(self.cost),
            "request_count": self.requests,
            "unrated_count": self.unrated,
        }

    def mean(self) -> Decimal | None:
        """Dollars for a request that has a price; nothing if none has."""
        rated = self.requests - self.unrated
        if rated <= 0:
            return None
        return _plain((Decimal(self.cost).scaleb(-9) / rated).quantize(_MEAN_PLACES, ROUND_HALF_EVEN))


#: Names the group of a row: the fields that come before the figures.
Naming = Callable[[Mapping[int, pb.GroupValue]], dict[str, object]]


def total_body(rows: Iterable[pb.SpendRow], days: SpendingRange) -> dict[str, object]:
    """The sum of a range."""
    return sum(map(Spending.of, rows), Spending()).body() | {"period": days.body()}


def groups(rows: Iterable[pb.SpendRow], naming: Naming) -> list[dict[str, object]]:
    """One body for each group, the dearest first. Groups with the same name are one."""
    found: dict[tuple[object, ...], tuple[dict[str, object], Spending]] = {}
    for row in rows:
        name = naming({int(item.dimension): item for item in row.group})
        _, before = found.get(tuple(name.values()), (name, Spending()))
        found[tuple(name.values())] = name, before + Spending.of(row)
    # The rows came in this order, which only groups that were joined can have left.
    ranked = sorted(found.values(), key=lambda item: -item[1].cost)
    return [name | sums.body() for name, sums in ranked]


def prompt_name(group: Mapping[int, pb.GroupValue]) -> dict[str, object]:
    """The prompt; what names none is under the published word."""
    return {"prompt_key": group[pb.DIMENSION_PROMPT].value or UNKNOWN}


def team_name(group: Mapping[int, pb.GroupValue]) -> dict[str, object]:
    """The team by its name, and by its id where the name is gone."""
    team = group[pb.DIMENSION_TEAM]
    return {"team_name": _called(team), "team_id": team.value or None}


def key_name(group: Mapping[int, pb.GroupValue]) -> dict[str, object]:
    """The key by its description, or by what may be shown of it, and its team."""
    key = group[pb.DIMENSION_KEY]
    return {"key_name": _called(key), "key_id": key.value or None} | team_name(group)


def model_name(group: Mapping[int, pb.GroupValue]) -> dict[str, object]:
    """The model and who serves it."""
    provider, model = group[pb.DIMENSION_PROVIDER].value, group[pb.DIMENSION_MODEL].value
    return {"provider": provider or None, "model": model or None}


def plain_name(field: str, dimension: "pb.Dimension.ValueType") -> Naming:
    """A naming by one free-form id; null where the events named none."""
    return lambda group: {field: group[dimension].value or None}


def versions(rows: Iterable[pb.VersionRow]) -> list[dict[str, object]]:
    """One body for each version that is registered or was used, by number; null, the last, for none."""
    return [
        {"version_number": row.version if row.HasField("version") else None}
        | Spending.of(row).body()
        | {"avg_cost_per_request": Spending.of(row).mean()}
        for row in rows
    ]


def points(
    rows: Iterable[pb.SpendRow], dates: Iterable[date], days: SpendingRange
) -> list[dict[str, object]]:
    """One body for each date: what happened in its period, and zeros where nothing did."""
    found = dict.fromkeys(dates, Spending())
    for row in rows:
        day = local_day(row.period_start.seconds * 10**6, days.zone)
        found[day] = found.get(day, Spending()) + Spending.of(row)
    return [{"date": day.isoformat()} | sums.body() for day, sums in sorted(found.items())]


def period_dates(start: date, end: date, span: CalendarSpan) -> Iterator[date]:
    """The first day of every day, week (from Monday) or month that has a day of the range."""
    day = span.first_day(start)
    while day <= end:
        yield day
        day = span.next_day(day)


def _called(value: pb.GroupValue) -> str:
    return value.display_name or value.value or UNKNOWN


def _plain(value: Decimal) -> Decimal:
    return value.to_integral_value() if value == value.to_integral_value() else value.normalize()
