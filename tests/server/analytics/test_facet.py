"""Sums by facet: which is asked, and that they are the sums of the events, also those of an older store."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given

from om_server.analytics.event_rollup import roll_up
from om_server.analytics.facet import Facet, facet_of, narrowed
from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.query import Dimension, EventFilter, UsageQuery
from om_server.analytics.rollup import TAG_ALL, by_day
from om_server.analytics.store import AnalyticsStore
from om_server.core.hours import HOUR
from om_server.storage.migrate import migrations
from tests.server.analytics.examples import NOW, ORG, batches, line, settled

if TYPE_CHECKING:
    from om_server.analytics.settled import SettledEvent
    from om_server.storage.database import Database

_FACET_TABLES = (
    "facet_series",
    "facet_rollups",
    "facet_rollup_quantities",
    "daily_facet_rollups",
    "daily_facet_rollup_quantities",
    "daily_consumer_rollups",
)


@pytest.mark.parametrize(
    ("names", "by_all_tags", "facet"),
    [
        ((), True, Facet.TOTAL),
        (("sandbox",), False, Facet.TOTAL),
        (("model", "team_id"), False, Facet.PRODUCT),
        (("user_id", "customer_id"), True, Facet.CONSUMER),
        (("user_id",), False, None),
        (("user_id", "model"), True, None),
        (("user_id", "provider"), True, None),
    ],
)
def test_the_facet_with_the_fewest_rows_is_asked(
    names: tuple[str, ...], facet: Facet | None, *, by_all_tags: bool
) -> None:
    assert facet_of(names, by_all_tags=by_all_tags) is facet


def test_the_consumers_of_a_provider_are_asked_where_it_is_named() -> None:
    names = ("user_id", "provider")

    assert facet_of(names, by_all_tags=True, of_providers=True) is Facet.PROVIDER_CONSUMER
    assert facet_of(names, by_all_tags=False, of_providers=True) is None
    assert facet_of(("provider",), by_all_tags=True, of_providers=True) is Facet.PRODUCT


@given(batches())
def test_a_facet_has_the_sums_of_the_series_and_no_dimension_of_another(events: list[SettledEvent]) -> None:
    whole = roll_up(events)
    for facet, kept in (
        (Facet.TOTAL, ()),
        (Facet.PRODUCT, ("model",)),
        (Facet.CONSUMER, ("user_id",)),
        (Facet.PROVIDER_CONSUMER, ("user_id", "provider")),
    ):
        narrow = narrowed(whole, facet)

        def sums(delta: Any, kept: tuple[str, ...] = kept, *, tagged: bool = not facet.of_consumers) -> Any:
            found: Counter[tuple[object, ...]] = Counter()
            for key, row in (*delta.counters.items(), *delta.quantities.items()):
                if tagged or key.tag == TAG_ALL:
                    series = delta.series[key.organization_id, key.series_id]
                    place = (key.organization_id, key.hour, key.tag, *key[4:], series.sandbox)
                    values = tuple(getattr(series, name) for name in kept)
                    found[*place, *values] += getattr(row, "cost", 0) + getattr(row, "amount", 0)
            return found

        assert sums(narrow) == sums(whole)
        assert all(series.series_id == key[1] for key, series in narrow.series.items())
    assert {series.user_id for series in narrowed(whole, Facet.PRODUCT).series.values()} <= {""}
    assert {series.model for series in narrowed(whole, Facet.CONSUMER).series.values()} <= {""}


@given(batches())
def test_the_whole_is_the_sum_of_its_products(events: list[SettledEvent]) -> None:
    product = narrowed(roll_up(events), Facet.PRODUCT)

    assert narrowed(product, Facet.TOTAL) == narrowed(roll_up(events), Facet.TOTAL)
    assert narrowed(by_day(product), Facet.TOTAL) == by_day(narrowed(product, Facet.TOTAL))


def test_facets_of_before_the_migration_are_summed_from_series(database: Database) -> None:
    operations = AnalyticsOperations(database, AnalyticsStore(database), clock=lambda: NOW)
    events = [
        settled(
            f"e{number}",
            line(model=f"m{number % 2}", cost=number),
            event_time=NOW - number * 7 * HOUR,
            tags=("t",),
            user_id=f"u{number % 3}",
            sandbox=number == 5,
        )
        for number in range(8)
    ]
    operations.record(events)
    groups = ((), (Dimension.TAG,), (Dimension.MODEL,), (Dimension.USER,), (Dimension.PROMPT_VERSION,))
    wanted = EventFilter(start_time=NOW - 60 * HOUR, end_time=NOW + HOUR)
    of_provider = replace(wanted, providers=("openai",))

    def asked() -> list[Any]:
        spend = operations.query_spend(ORG, UsageQuery(of_provider, (Dimension.USER,))).rows
        return [*(operations.query_usage(ORG, UsageQuery(wanted, group)).rows for group in groups), spend]

    def counted() -> list[int]:
        statements = [f"SELECT COUNT(*) FROM {table}" for table in _FACET_TABLES]  # noqa: S608 - fixed names
        return [database.engine.execute_sql(statement).fetchone()[0] for statement in statements]

    before, rows_before = asked(), database.read(counted)
    texts = dict(migrations())
    parts = [part for name in ("0015_facets", "0017_consumers") for part in texts[name].split(";\n")]
    backfill = [part for part in parts if "INSERT INTO" in part]

    def migrate_again() -> None:
        for table in _FACET_TABLES:
            database.engine.execute_sql(f"DELETE FROM {table}")  # noqa: S608 - fixed names
        for statement in backfill:
            database.engine.execute_sql(statement)

    database.write(migrate_again)

    assert len(backfill) == 13
    assert sum(row.counters.event_count for row in before[0]) == 7
    assert (asked(), database.read(counted)) == (before, rows_before)
    # The next event's series has another id than the one that the migration lent, and is in the same group.
    operations.record([settled("late", line(model="m0", cost=1), tags=("t",), user_id="u0")])
    later = asked()
    assert [len(rows) for rows in later] == [len(rows) for rows in before]
    assert all(sum(row.counters.event_count for row in rows) == 8 for rows in later)


def test_users_are_summed_by_tag_although_their_facet_has_none(database: Database) -> None:
    operations = AnalyticsOperations(database, AnalyticsStore(database), clock=lambda: NOW)
    operations.record([settled("e1", tags=("t",), user_id="u"), settled("e2", user_id="u")])
    day = NOW // (24 * HOUR) * 24 * HOUR

    def users(*tags: str) -> list[tuple[str, int]]:
        wanted = EventFilter(start_time=day, end_time=day + 24 * HOUR, tags=tags)
        report = operations.query_usage(ORG, UsageQuery(wanted, (Dimension.USER,)))
        return [(row.group[0].value, row.counters.event_count) for row in report.rows]

    assert users() == [("u", 2)]
    assert users("t") == [("u", 1)]
