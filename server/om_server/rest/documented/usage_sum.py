"""Sums of usage by any of its dimensions, from rows of QueryUsage."""

from collections.abc import Iterable
from dataclasses import dataclass

from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om_server.rest.documented.consumption import input_tokens, output_tokens

#: Names the group of events that name none.
NAMELESS = "unknown"


@dataclass(slots=True)
class UsageSum:
    """Running sums of a group; amounts in nano-units."""

    events: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    charge: int = 0
    cost: int = 0
    unrated: int = 0

    def add(self, row: analytics_pb.UsageRow) -> None:
        """Add a row."""
        self.events += row.event_count
        self.tokens_in += input_tokens(row.quantities) or 0
        self.tokens_out += output_tokens(row.quantities) or 0
        self.charge += row.charge.amount_nanos
        self.cost += row.cost.amount_nanos
        self.unrated += row.unrated_count


def total(rows: Iterable[analytics_pb.UsageRow]) -> UsageSum:
    """The sum of all rows."""
    found = UsageSum()
    for row in rows:
        found.add(row)
    return found


def grouped(
    rows: Iterable[analytics_pb.UsageRow], *dimensions: "analytics_pb.Dimension.ValueType"
) -> dict[tuple[str, ...], UsageSum]:
    """Sums by the values of some dimensions, in order of first sight."""
    found: dict[tuple[str, ...], UsageSum] = {}
    for row in rows:
        values = {item.dimension: item.value for item in row.group}
        key = tuple(values.get(dimension, "") for dimension in dimensions)
        found.setdefault(key, UsageSum()).add(row)
    return found
