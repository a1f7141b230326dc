"""What the aggregation API shows, against sums over the events themselves: to the nano-dollar."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.period import Granularity
from om_server.analytics.query import Dimension, EventFilter, UsageQuery
from om_server.analytics.servicer import dimension_from_proto, spend_row_to_proto
from om_server.analytics.store import AnalyticsStore
from om_server.core.hours import HOUR
from om_server.rest.documented import spending
from om_server.rest.documented.aggregations import GROUPINGS
from om_server.storage.migrate import migrations
from tests.server.analytics.examples import NOW, ORG, batches, settled
from tests.server.analytics.rolled_back import rolled_back

if TYPE_CHECKING:
    from om.analytics.v1 import analytics_service_pb2 as pb
    from om_server.analytics.settled import SettledEvent
    from om_server.storage.database import Database

_RANGE = EventFilter(start_time=NOW - 60 * HOUR, end_time=NOW + HOUR)
_NANO = 10**9
_ZONES = st.sampled_from(["UTC", "Asia/Kolkata", "Europe/Berlin", "Pacific/Chatham"])


@pytest.fixture
def operations(database: Database) -> AnalyticsOperations:
    return AnalyticsOperations(database, AnalyticsStore(database), clock=lambda: NOW)


def totals(rows: list[dict[str, Any]]) -> tuple[Decimal, int, int]:
    """Cost, requests and unrated requests of all rows."""
    return (
        sum((Decimal(row["total_cost"]) for row in rows), Decimal(0)),
        sum(row["request_count"] for row in rows),
        sum(row["unrated_count"] for row in rows),
    )


def spent(events: list[SettledEvent]) -> tuple[Decimal, int, int]:
    """The same of events, of which those without a price have no cost."""
    return (
        Decimal(sum(one.cost or 0 for one in events if one.rated)) / _NANO,
        len(events),
        sum(not one.rated for one in events),
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=batches(), zone=_ZONES)
def test_every_aggregation_adds_up_to_the_events(
    database: Database, operations: AnalyticsOperations, events: list[SettledEvent], zone: str
) -> None:
    """The charge of these events is what the ledger has: invariants I1 and I16 say so of both halves."""

    def ask(query: UsageQuery) -> list[pb.SpendRow]:
        return [spend_row_to_proto(row) for row in operations.query_spend(ORG, query).rows]

    def settle_and_ask() -> tuple[dict[str, list[dict[str, Any]]], list[pb.SpendRow], list[pb.SpendRow]]:
        operations.record(events)
        grouped = {
            name: spending.groups(
                ask(UsageQuery(_RANGE, tuple(map(dimension_from_proto, grouping.dimensions)))),
                grouping.naming,
            )
            for name, grouping in GROUPINGS.items()
        }
        by_day = UsageQuery(_RANGE, granularity=Granularity.DAY, zone=ZoneInfo(zone))
        return grouped, ask(UsageQuery(_RANGE)), ask(by_day)

    grouped, total, daily = rolled_back(database, settle_and_ask)

    ours = [one for one in events if one.event.organization_id == ORG and not one.event.sandbox]
    assert totals([spending.Spending.of(row).body() for row in total]) == spent(ours)
    assert totals([spending.Spending.of(row).body() for row in daily]) == spent(ours)
    for name in GROUPINGS.keys() - {"getSpendByTag"}:
        assert totals(grouped[name]) == spent(ours), name
    for row in grouped["getSpendByTag"]:
        assert totals([row]) == spent([one for one in ours if row["tag"] in one.event.attribution.tags])
    assert {row["tag"] for row in grouped["getSpendByTag"]} == {
        tag for one in ours for tag in one.event.attribution.tags
    }


def test_days_of_before_the_migration_are_summed_from_their_hours(
    database: Database, operations: AnalyticsOperations
) -> None:
    operations.record(
        [settled(f"e{number}", event_time=NOW - number * 7 * HOUR, tags=("t",)) for number in range(8)]
    )
    query = UsageQuery(_RANGE, (Dimension.TAG,))
    before = operations.query_usage(ORG, query)
    backfill = [part for part in dict(migrations())["0012_analytics"].split(";") if "FROM rollup" in part]

    def migrate_again() -> None:
        for table in ("daily_rollups", "daily_rollup_quantities"):
            database.engine.execute_sql(f"DELETE FROM {table}")  # noqa: S608 - fixed names
        for statement in backfill:
            database.engine.execute_sql(statement)

    database.write(migrate_again)

    assert len(backfill) == 2
    assert before.rows[0].counters.event_count == 8
    assert operations.query_usage(ORG, query) == before
