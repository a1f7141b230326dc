from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.period import Granularity
from om_server.analytics.query import Dimension, EventFilter, TagsTooBroad, UsageQuery, UsageReport
from om_server.analytics.settled import SettledEvent, SettledState
from om_server.analytics.store import AnalyticsStore
from om_server.core.errors import PageTokenInvalid
from om_server.core.hours import HOUR, hour_of
from om_server.core.page import PageRequest, encode_token
from om_server.storage.database import Database
from tests.server.analytics.examples import NOW, ORG, OTHER_ORG, batches, line, settled
from tests.server.analytics.oracle import Question, reported_sums, sums_over_events
from tests.server.analytics.rolled_back import rolled_back

EVERYTHING = EventFilter()


@pytest.fixture
def operations(database: Database) -> AnalyticsOperations:
    return AnalyticsOperations(database, AnalyticsStore(database), clock=lambda: NOW)


def groups(report: UsageReport) -> dict[tuple[str, ...], int]:
    """Event counts by group."""
    return {tuple(part.value for part in row.group): row.counters.event_count for row in report.rows}


def ids(events: tuple[SettledEvent, ...]) -> list[str]:
    return [item.event.event_id for item in events]


def moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros // 10**6, UTC)


def test_what_was_recorded_is_found_listed_and_summed(operations: AnalyticsOperations) -> None:
    event = settled("e", line(cost=5, charge=6, input_tokens=7))
    operations.record([event])

    assert operations.find_event(ORG, source="api", event_id="e") == event
    assert operations.list_events(ORG, EVERYTHING, page=PageRequest()).events == (event,)
    [row] = operations.query_usage(ORG, UsageQuery()).rows
    assert (row.counters.cost, row.counters.charge, row.quantities["input_tokens"].amount) == (5, 6, 7)
    assert row.period_start is None


def test_an_event_that_was_recorded_before_changes_nothing(operations: AnalyticsOperations) -> None:
    operations.record([settled("e")])

    with pytest.raises(peewee.IntegrityError):
        operations.record([settled("new"), settled("e")])

    assert groups(operations.query_usage(ORG, UsageQuery())) == {(): 1}
    assert ids(operations.list_events(ORG, EVERYTHING, page=PageRequest()).events) == ["e"]


def test_events_that_wait_for_a_price_are_counted(operations: AnalyticsOperations) -> None:
    waiting = settled("e1", line(cost=None), state=SettledState.UNRATED, cost=None)
    theirs = settled("e2", line(cost=None), state=SettledState.UNRATED, cost=None, organization_id=OTHER_ORG)
    operations.record([waiting, theirs, settled("rated")])

    assert operations.count_unrated(ORG) == 1


def test_recording_is_undone_with_the_transaction_around_it(
    database: Database, operations: AnalyticsOperations
) -> None:
    rolled_back(database, lambda: operations.record([settled("e", tags=("a",))]))

    assert operations.find_event(ORG, source="api", event_id="e") is None
    assert operations.query_usage(ORG, UsageQuery()).rows == ()
    assert operations.query_usage(ORG, UsageQuery(group_by=(Dimension.TAG,))).rows == ()


def test_settlers_of_the_same_series_neither_block_for_ever_nor_lose_a_sum(
    operations: AnalyticsOperations,
) -> None:
    """Both write the same rows, and would deadlock if each did it in the order of its events."""

    def settle(settler: int) -> None:
        for turn in range(6):
            batch = [settled(f"e{settler}_{turn}_{user}", user_id=f"u{user}") for user in range(200)]
            operations.record(batch if settler else batch[::-1])

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(settle, settler) for settler in range(2)]:
            done.result()

    [row] = operations.query_usage(ORG, UsageQuery()).rows
    assert (row.counters.event_count, row.counters.cost) == (2400, 24_000)
    assert len(operations.query_usage(ORG, UsageQuery(group_by=(Dimension.USER,))).rows) == 200


def test_nothing_of_another_organization_appears(operations: AnalyticsOperations) -> None:
    operations.record([settled("e", tags=("a", "b"), organization_id=OTHER_ORG)])

    for tags in ((), ("a",), ("a", "b")):
        wanted = EventFilter(tags=tags)
        assert operations.list_events(ORG, wanted, page=PageRequest()).total_size == 0
        for granularity in Granularity:
            for group_by in ((), (Dimension.MODEL,), (Dimension.TAG,)):
                query = UsageQuery(wanted, group_by, granularity)
                assert operations.query_usage(ORG, query).rows == ()
                assert operations.query_spend(ORG, query).rows == ()
                assert len(operations.query_spend(OTHER_ORG, query).rows) >= 1
    assert operations.find_event(ORG, source="api", event_id="e") is None


def test_usage_is_of_the_last_30_days(operations: AnalyticsOperations) -> None:
    operations.record(
        [
            settled("first hour", event_time=hour_of(NOW) * HOUR - 30 * 24 * HOUR),
            settled("too old", event_time=hour_of(NOW) * HOUR - 30 * 24 * HOUR - 1),
            settled("now"),
        ]
    )

    report = operations.query_usage(ORG, UsageQuery())

    assert groups(report) == {(): 2}
    assert moment(report.hours.start_time) == datetime(2026, 10, 22, 10, tzinfo=UTC)
    assert moment(report.hours.end_time) == datetime(2026, 11, 21, 11, tzinfo=UTC)


def test_spend_is_of_the_calendar_month_in_the_zone(operations: AnalyticsOperations) -> None:
    month = int(datetime(2026, 11, 1, tzinfo=ZoneInfo("Asia/Tokyo")).timestamp()) * 10**6
    operations.record([settled("in", event_time=month), settled("before", event_time=month - 1)])

    report = operations.query_spend(ORG, UsageQuery(zone=ZoneInfo("Asia/Tokyo")))

    assert groups(report) == {(): 1}
    assert moment(report.hours.start_time) == datetime(2026, 10, 31, 15, tzinfo=UTC)


def test_a_range_without_a_start_is_counted_back_from_its_end(operations: AnalyticsOperations) -> None:
    """The first moment of a month, as an end, belongs to the month before."""
    end = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 10**6

    spend = operations.query_spend(ORG, UsageQuery(EventFilter(end_time=end)))
    usage = operations.query_usage(ORG, UsageQuery(EventFilter(end_time=end)))

    assert moment(spend.hours.start_time) == datetime(2026, 2, 1, tzinfo=UTC)
    assert moment(usage.hours.start_time) == datetime(2026, 1, 30, tzinfo=UTC)


def test_a_start_in_the_future_has_no_usage_and_is_no_error(operations: AnalyticsOperations) -> None:
    operations.record([settled("e")])

    report = operations.query_usage(ORG, UsageQuery(EventFilter(start_time=NOW + HOUR)))

    assert report.rows == ()
    assert report.hours.first < report.hours.end


def test_periods_follow_the_zone_through_a_change_of_clocks(operations: AnalyticsOperations) -> None:
    """25 October 2026 has 25 hours in Berlin; one event in each hour of three days."""
    zone = ZoneInfo("Europe/Berlin")
    start = int(datetime(2026, 10, 24, tzinfo=zone).timestamp()) * 10**6
    end = int(datetime(2026, 10, 27, tzinfo=zone).timestamp()) * 10**6
    operations.record(
        [settled(f"e{place}", event_time=time) for place, time in enumerate(range(start, end, HOUR))]
    )

    report = operations.query_usage(
        ORG, UsageQuery(EventFilter(start_time=start, end_time=end), (), Granularity.DAY, zone)
    )

    assert [row.counters.event_count for row in report.rows] == [24, 25, 24]
    starts = [row.period_start for row in report.rows if row.period_start is not None]
    assert [datetime.fromtimestamp(micros // 10**6, zone).hour for micros in starts] == [0, 0, 0]


def test_since_ever_by_day_is_one_row_for_each_day_with_usage(operations: AnalyticsOperations) -> None:
    operations.record([settled("old", event_time=NOW - 300 * 24 * HOUR), settled("new")])

    report = operations.query_usage(ORG, UsageQuery(EventFilter(start_time=0), (), Granularity.DAY))

    assert len(report.rows) == 2
    assert report.hours.start_time == 0


def test_tags_overlap_in_groups_but_not_in_a_filter(operations: AnalyticsOperations) -> None:
    operations.record(
        [
            settled("both", tags=("a", "b")),
            settled("one", tags=("a",)),
            settled("none"),
            settled("c", tags=("c",)),
        ]
    )

    def counted(*group_by: Dimension, tags: tuple[str, ...]) -> dict[tuple[str, ...], int]:
        return groups(operations.query_usage(ORG, UsageQuery(EventFilter(tags=tags), group_by)))

    assert counted(Dimension.TAG, tags=()) == {("a",): 2, ("b",): 1, ("c",): 1}
    assert counted(Dimension.TAG, tags=("a", "b")) == {("a",): 2, ("b",): 1}
    assert counted(tags=("a",)) == {(): 2}
    assert counted(tags=("a", "b")) == {(): 2}
    assert counted(tags=("a", "a")) == {(): 2}
    assert counted(Dimension.MODEL, tags=("b", "c")) == {("gpt-4o",): 2}


def test_several_tags_over_too_many_events_are_refused_unless_they_are_the_groups(
    database: Database,
) -> None:
    operations = AnalyticsOperations(database, AnalyticsStore(database), clock=lambda: NOW, scan_max=2)
    operations.record([settled(f"e{number}", tags=("a", "b")) for number in range(3)])
    broad = EventFilter(tags=("a", "b"))

    with pytest.raises(TagsTooBroad):
        operations.query_usage(ORG, UsageQuery(broad))
    assert groups(operations.query_usage(ORG, UsageQuery(broad, (Dimension.TAG,)))) == {("a",): 3, ("b",): 3}
    assert groups(operations.query_usage(ORG, UsageQuery(EventFilter(tags=("a",))))) == {(): 3}


def test_the_sandbox_is_listed_but_summed_only_on_request(operations: AnalyticsOperations) -> None:
    operations.record([settled("play", sandbox=True, tags=("a", "b")), settled("real", tags=("a", "b"))])

    for tags in ((), ("a",), ("a", "b")):
        assert groups(operations.query_usage(ORG, UsageQuery(EventFilter(tags=tags)))) == {(): 1}
        with_sandbox = EventFilter(tags=tags, include_sandbox=True)
        assert groups(operations.query_usage(ORG, UsageQuery(with_sandbox))) == {(): 2}
    assert operations.list_events(ORG, EVERYTHING, page=PageRequest()).total_size == 2


def test_teams_and_keys_have_names_within_their_organization(database: Database) -> None:
    asked = []

    def names(organization_id: str, dimension: Dimension) -> Mapping[str, str]:
        asked.append((organization_id, dimension))
        return {"t1": "Research"}

    operations = AnalyticsOperations(database, AnalyticsStore(database), clock=lambda: NOW, names=names)
    operations.record([settled("e", team_id="t1")])

    [row] = operations.query_usage(ORG, UsageQuery(group_by=(Dimension.TEAM, Dimension.USER))).rows

    assert [part.display_name for part in row.group] == ["Research", ""]
    assert asked == [(ORG, Dimension.TEAM)]


def test_paging_neither_skips_nor_repeats_while_events_arrive(operations: AnalyticsOperations) -> None:
    operations.record([settled(f"e{number}", event_time=NOW - number // 3) for number in range(20)])
    before = set(ids(operations.list_events(ORG, EVERYTHING, page=PageRequest(size=200)).events))

    seen: list[str] = []
    token = ""
    for number in range(100):
        page = operations.list_events(ORG, EVERYTHING, page=PageRequest(size=3, token=token))
        seen += ids(page.events)
        token = page.next_page_token
        if not token:
            break
        last = page.events[-1].event.event_time
        operations.record(
            [settled(f"new{number}", event_time=NOW + 1), settled(f"late{number}", event_time=last - 1)]
        )

    assert len(seen) == len(set(seen))
    assert before <= set(seen)


def test_a_page_tells_how_many_match_and_where_the_next_one_starts(operations: AnalyticsOperations) -> None:
    operations.record([settled(f"e{number}") for number in range(5)])

    first = operations.list_events(ORG, EVERYTHING, page=PageRequest(size=2))
    second = operations.list_events(ORG, EVERYTHING, page=PageRequest(size=2, token=first.next_page_token))
    third = operations.list_events(ORG, EVERYTHING, page=PageRequest(size=9, token=second.next_page_token))

    assert [ids(page.events) for page in (first, second, third)] == [["e4", "e3"], ["e2", "e1"], ["e0"]]
    assert [page.total_size for page in (first, second, third)] == [5, 5, 5]
    assert third.next_page_token == ""


def test_skip_adds_to_the_page_token(operations: AnalyticsOperations) -> None:
    operations.record([settled(f"e{number}") for number in range(5)])
    first = operations.list_events(ORG, EVERYTHING, page=PageRequest(size=1))

    skipped = PageRequest(size=2, token=first.next_page_token, skip=2)

    assert ids(operations.list_events(ORG, EVERYTHING, page=skipped).events) == ["e1", "e0"]


@pytest.mark.parametrize(
    "changed", [EventFilter(models=("gpt-4o",)), EventFilter(tags=("a",)), EventFilter(start_time=1)]
)
def test_a_page_token_belongs_to_its_filter(operations: AnalyticsOperations, changed: EventFilter) -> None:
    operations.record([settled("e1"), settled("e2")])
    token = operations.list_events(ORG, EVERYTHING, page=PageRequest(size=1)).next_page_token

    with pytest.raises(PageTokenInvalid):
        operations.list_events(ORG, changed, page=PageRequest(token=token))


@pytest.mark.parametrize(
    "cursor", [(), (1,), ("e", "e", "e"), (1, "e", 2), (2**80, "e", "e"), (1, "\0", "e")]
)
def test_a_cursor_that_is_no_place_among_events_is_refused(
    operations: AnalyticsOperations, cursor: tuple[str | int, ...]
) -> None:
    with pytest.raises(PageTokenInvalid):
        operations.list_events(ORG, EVERYTHING, page=PageRequest(token=encode_token(cursor, {})))


_GROUPS = st.sampled_from(
    [
        (),
        (Dimension.TAG,),
        (Dimension.MODEL, Dimension.PROVIDER),
        (Dimension.TEAM, Dimension.PROMPT_VERSION),
        (Dimension.CUSTOMER, Dimension.EVENT_TYPE),
    ]
)
_QUESTIONS = st.builds(
    Question,
    group_by=_GROUPS,
    by_hour=st.booleans(),
    wanted=st.builds(
        EventFilter,
        tags=st.sampled_from([(), ("x",), ("x", "y"), (",", "X", '"')]),
        models=st.sampled_from([(), ("m1",), ("",)]),
        customer_ids=st.sampled_from([(), ("a",), ("", "b")]),
        include_sandbox=st.booleans(),
    ),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=batches(), question=_QUESTIONS, cut_at=st.integers(0, 12))
def test_usage_equals_the_sums_over_events(
    database: Database,
    operations: AnalyticsOperations,
    events: list[SettledEvent],
    question: Question,
    cut_at: int,
) -> None:
    """I16, seen from outside: whatever is asked, however the events were batched."""
    granularity = Granularity.HOUR if question.by_hour else Granularity.TOTAL
    query = UsageQuery(replace(question.wanted, start_time=NOW - 72 * HOUR), question.group_by, granularity)

    def settle_and_ask() -> tuple[UsageReport, UsageReport]:
        for batch in (events[:cut_at], events[cut_at:]):
            operations.record(batch)
        return operations.query_usage(ORG, query), operations.query_spend(ORG, query)

    usage, spend = rolled_back(database, settle_and_ask)

    expected = sums_over_events(events, question)
    assert reported_sums(usage) == expected
    assert {row.group: row.counters for row in spend.rows} == {row.group: row.counters for row in usage.rows}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=batches(), granularity=st.sampled_from(Granularity))
def test_periods_add_up_to_the_total(
    database: Database, operations: AnalyticsOperations, events: list[SettledEvent], granularity: Granularity
) -> None:
    zone = ZoneInfo("Asia/Kathmandu")
    wanted = EventFilter(start_time=NOW - 72 * HOUR)

    def settle_and_ask() -> tuple[UsageReport, UsageReport]:
        operations.record(events)
        cut = operations.query_usage(ORG, UsageQuery(wanted, (), granularity, zone))
        return cut, operations.query_usage(ORG, UsageQuery(wanted))

    cut, total = rolled_back(database, settle_and_ask)

    assert sum(row.counters.cost for row in cut.rows) == sum(row.counters.cost for row in total.rows)
    assert sum(row.counters.event_count for row in cut.rows) == sum(
        row.counters.event_count for row in total.rows
    )
