"""Records what was settled and answers questions about it. Each method is one transaction."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from om_server.analytics.event_export import end_of
from om_server.analytics.event_rollup import correction, roll_up
from om_server.analytics.event_store import cursor_behind, cursor_of
from om_server.analytics.period import Cut, Granularity, cut_hours, month_start
from om_server.analytics.query import (
    Dimension,
    EventFilter,
    GroupKey,
    GroupSums,
    Names,
    TagsTooBroad,
    UsageQuery,
    UsageReport,
    by_cost,
    by_event_count,
    group_sums,
    usage_rows,
)
from om_server.analytics.revision_store import Revised
from om_server.analytics.rollup_statement import Question
from om_server.analytics.settled import SettledEvent
from om_server.analytics.store import AnalyticsStore
from om_server.analytics.version_comparison import VersionSpend, compare_versions
from om_server.core.clock import Clock
from om_server.core.errors import InvalidArgument, PageTokenInvalid
from om_server.core.hours import HOUR, HourRange
from om_server.core.page import Arguments, Cursor, PageRequest, decode_token, encode_token
from om_server.storage.database import Database

_USAGE_RANGE = 30 * 24 * HOUR

# Events are summed one by one at about 10,000 a second.
_SCAN_MAX = 50_000

# What a column of times can hold.
_TIME_END = 2**63

_NAMED = (Dimension.TEAM, Dimension.KEY)


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events, the token of the next one (empty at the end), and how many match in all."""

    events: tuple[SettledEvent, ...]
    next_page_token: str
    total_size: int


def _no_names(_organization_id: str, _dimension: Dimension) -> Mapping[str, str]:
    return {}


class AnalyticsOperations:
    """Analytics of any organization, one at a time."""

    def __init__(
        self,
        database: Database,
        store: AnalyticsStore,
        *,
        clock: Clock,
        names: Names = _no_names,
        scan_max: int = _SCAN_MAX,
    ) -> None:
        self._database = database
        self._clock = clock
        self._names = names
        self._scan_max = scan_max
        self._events = store.events
        self._rollups = store.rollups
        self._revisions = store.revisions
        self._settlements = store.settlements

    def record(
        self,
        settled: Sequence[SettledEvent],
        *,
        replaced: Sequence[tuple[SettledEvent, SettledEvent]] = (),
    ) -> None:
        """Write new events and add them to the rollups, within the settling transaction.

        Every event must be new: whoever settles has claimed its identity. `replaced` are stored events,
        which are locked, with what they become: another outcome, other lines and rating. Who they belong
        to and when they happened stays.

        All is added at once: who added twice to rows that everybody adds to could deadlock.
        """
        before, after = [old for old, _ in replaced], [new for _, new in replaced]
        delta = roll_up(settled)
        if replaced:
            delta += correction(before, after)

        def write() -> None:
            self._events.add(settled)
            if replaced:
                self._events.replace(before, after)
            self._rollups.add(delta)
            self._note_settled([*settled, *after])

        self._database.write(write)

    def revise(self, before: Sequence[SettledEvent], after: Sequence[SettledEvent]) -> None:
        """Give stored events another rating and correct the rollups, within the charging transaction.

        Both are the same events in the same order, and `before` is what is stored.
        """
        delta = correction(before, after)

        def write() -> None:
            self._events.revise(before, after)
            self._rollups.add(delta)
            self._note_settled(after)

        self._database.write(write)

    def _note_settled(self, settled: Sequence[SettledEvent]) -> None:
        """Tell whoever watches events, with the transaction."""
        self._settlements.note((one.event.organization_id, one.settle_time) for one in settled)

    def unrated_organizations(self) -> list[str]:
        """Return who has events that wait for a price."""
        return self._database.read(self._events.unrated_organizations)

    def page_unrated(
        self, organization_id: str, *, after: Cursor | None, limit: int
    ) -> tuple[list[SettledEvent], Cursor | None]:
        """Return events that wait for a price, oldest first, and where to go on; None at the end."""
        found = self._database.read(
            lambda: self._events.page_unrated(organization_id, after=after, limit=limit)
        )
        return found, cursor_behind(found, limit)

    def lock_unrated(
        self, organization_id: str, identities: Collection[tuple[str, str]]
    ) -> list[SettledEvent]:
        """Return those of these (source, id) that still wait; until the end nobody else rates them."""
        return self._database.write(lambda: self._events.lock_unrated(organization_id, identities))

    def lock_events(
        self, organization_id: str, identities: Collection[tuple[str, str]]
    ) -> list[SettledEvent]:
        """Return those of these (source, id) that are stored; until the end nobody else changes them."""
        return self._database.write(lambda: self._events.lock(organization_id, identities))

    def page_rated(
        self, organization_id: str, wanted: EventFilter, *, after: Cursor | None, limit: int
    ) -> tuple[list[SettledEvent], Cursor | None]:
        """Return events that have a charge, oldest first, and where to go on; None at the end.

        Within a transaction they are locked until its end: nobody else gives them another rating.
        """
        found = self._database.read(
            lambda: self._events.page_rated(
                organization_id, wanted, after=after, limit=limit, lock=self._database.engine.in_transaction()
            )
        )
        return found, cursor_behind(found, limit)

    def revision_numbers(
        self, organization_id: str, identities: Collection[tuple[str, str]]
    ) -> Mapping[tuple[str, str], int]:
        """Return how often these events, by (source, id), were rated again; never is not in it."""
        return self._database.read(lambda: self._revisions.numbers(organization_id, identities))

    def note_revisions(self, revised: Sequence[Revised], *, rerate_id: str) -> None:
        """Keep what events were before, within the transaction that revises them."""
        now = self._clock()
        self._database.write(lambda: self._revisions.add(revised, rerate_id=rerate_id, now=now))

    def find_event(self, organization_id: str, *, source: str, event_id: str) -> SettledEvent | None:
        """Return a settled event by its identity."""
        return self._database.read(
            lambda: self._events.find(organization_id, source=source, event_id=event_id)
        )

    def count_unrated(self, organization_id: str) -> int:
        """Count the events that wait for a price."""
        return self._database.read(lambda: self._events.count_unrated(organization_id))

    def count_events(self, organization_id: str) -> int:
        """Count the settled events of an organization, those of the sandbox too."""
        return self._database.read(
            lambda: self._events.count(organization_id, EventFilter(include_sandbox=True))
        )

    def list_events(self, organization_id: str, wanted: EventFilter, *, page: PageRequest) -> EventPage:
        """Return a page of events, newest first. It shows those of the sandbox as well."""
        arguments = _arguments(wanted)
        after = _checked(decode_token(page.token, arguments))

        def read() -> EventPage:
            found = self._events.page(
                organization_id, wanted, after=after, skip=page.skip, limit=page.size + 1
            )
            events = found[: page.size]
            more = len(found) > page.size
            token = encode_token(cursor_of(events[-1]), arguments) if more else ""
            return EventPage(tuple(events), token, self._events.count(organization_id, wanted))

        return self._database.read(read)

    def query_usage(self, organization_id: str, query: UsageQuery) -> UsageReport:
        """Sum usage, the most events first within a period; without a start, over 30 days."""
        hours = self._hours(query.filter, lambda end: end - _USAGE_RANGE)
        return self._report(organization_id, query, hours=hours, spend=False)

    def query_spend(self, organization_id: str, query: UsageQuery) -> UsageReport:
        """Sum spend, without quantities, the dearest first within a period.

        Without a start, over the calendar month of the end in the time zone.
        """
        hours = self._hours(query.filter, lambda end: month_start(end - 1, query.zone))
        return self._report(organization_id, query, hours=hours, spend=True)

    def compare_versions(
        self, organization_id: str, prompt_key: str, *, wanted: EventFilter, version_count: int
    ) -> tuple[VersionSpend, ...]:
        """Compare the versions of a prompt, so many of which are registered; without a start, since ever.

        A prompt that nobody registered or used has none, as another organization's has none.
        """
        if wanted.prompt_keys and wanted.prompt_keys != (prompt_key,):
            raise InvalidArgument("filter.prompt_keys", "the comparison is of one prompt, which is named")
        query = UsageQuery(replace(wanted, prompt_keys=(prompt_key,)), group_by=(Dimension.PROMPT_VERSION,))
        hours = self._hours(query.filter, lambda _end: 0)
        report = self._report(organization_id, query, hours=hours, spend=True)
        return compare_versions(report.rows, version_count)

    def _hours(self, wanted: EventFilter, default_start: Callable[[int], int]) -> HourRange:
        start, end = wanted.start_time, end_of(wanted, now=self._clock())
        return HourRange.around(default_start(end) if start is None else start, end)

    def _report(
        self, organization_id: str, query: UsageQuery, *, hours: HourRange, spend: bool
    ) -> UsageReport:
        def read() -> tuple[Cut, dict[GroupKey, GroupSums]]:
            used = hours
            if query.granularity not in (Granularity.TOTAL, Granularity.HOUR):
                # A range since ever has far more days than there are days with usage.
                used = self._rollups.hours_with_usage(organization_id, hours)
            cut = cut_hours(used, query.granularity, zone=query.zone)
            question = Question(organization_id, query, used, cut, with_quantities=not spend)
            return cut, self._sums(question) if used.first < used.end else {}

        cut, sums = self._database.read(read)
        named = [dimension for dimension in query.group_by if dimension in _NAMED]
        names = {dimension: self._names(organization_id, dimension) for dimension in named}
        rank = by_cost if spend else by_event_count
        return UsageReport(usage_rows(sums, query, cut=cut, names=names, rank=rank), hours)

    def _sums(self, question: Question) -> dict[GroupKey, GroupSums]:
        query, hours = question.query, question.hours
        if query.by_tag or len(set(query.filter.tags)) <= 1:
            return self._rollups.sums(question)
        # Rollups of two tags both have the events that carry both, so these are summed one by one.
        wanted = replace(query.filter, start_time=hours.start_time, end_time=hours.end_time)
        if self._events.count(question.organization_id, wanted) > self._scan_max:
            raise TagsTooBroad(self._scan_max)
        events = self._events.scan(question.organization_id, wanted)
        return group_sums(roll_up(events), query, cut=question.cut)


def _checked(cursor: Cursor | None) -> Cursor | None:
    """PAGE_TOKEN_INVALID for a cursor that is no place among events."""
    match cursor:
        case None:
            return None
        case int(time), str(event_id), str(source) if abs(time) < _TIME_END and "\0" not in event_id + source:
            return cursor
        case _:
            raise PageTokenInvalid


def _arguments(wanted: EventFilter) -> Arguments:
    return {
        "start_time": wanted.start_time,
        "end_time": wanted.end_time,
        "tags": wanted.tags,
        **dict(wanted.of_events()),
        **dict(wanted.of_lines()),
    }
