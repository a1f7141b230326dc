"""What may be asked of rollups and events, and how sums become the rows of an answer. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from zoneinfo import ZoneInfo

from om_server.analytics.counters import Counters, QuantitySum, accumulate
from om_server.analytics.period import Cut, Granularity
from om_server.analytics.rollup import TAG_ALL, QuantityKey, RollupDelta, RollupKey
from om_server.analytics.series import Series, dimensions_of
from om_server.analytics.settled import SettledEvent
from om_server.core.errors import InvalidArgument
from om_server.core.hours import HourRange

DIMENSIONS_MAX = 4


class TagsTooBroad(InvalidArgument):
    """Several tags without tags as groups: no rollup tells which events carry two, and they are too many."""

    def __init__(self, event_count_max: int) -> None:
        super().__init__(
            "filter.tags",
            f"several tags match over {event_count_max} events; narrow the range, or group by tag",
        )


class Dimension(Enum):
    """What usage is grouped by; a value is the name of the series' field, but for the tag."""

    TEAM = "team_id"
    KEY = "key_id"
    PROMPT = "prompt_key"
    PROMPT_VERSION = "prompt_version"
    TAG = "tag"
    FEATURE = "feature_id"
    PROVIDER = "provider"
    MODEL = "model"
    CUSTOMER = "customer_id"
    USER = "user_id"
    EVENT_TYPE = "event_type"


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events count: all that are set must match, any value of each will do.

    Times are microseconds since 1970, the end exclusive; None where none was given.
    """

    start_time: int | None = None
    end_time: int | None = None
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    feature_ids: tuple[str, ...] = ()
    customer_ids: tuple[str, ...] = ()
    user_ids: tuple[str, ...] = ()
    team_ids: tuple[str, ...] = ()
    key_ids: tuple[str, ...] = ()
    prompt_keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    include_sandbox: bool = False
    event_types: tuple[str, ...] = ()
    #: Only events of the sandbox, or only the others; None for what `include_sandbox` says.
    sandbox: bool | None = None

    def __post_init__(self) -> None:
        if self.start_time is not None and self.end_time is not None and self.end_time <= self.start_time:
            raise InvalidArgument("filter.end_time", "not after the start")

    def of_events(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the fields of an event that must match, with the values that may."""
        conditions = {
            "feature_id": self.feature_ids,
            "customer_id": self.customer_ids,
            "user_id": self.user_ids,
            "team_id": self.team_ids,
            "key_id": self.key_ids,
            "prompt_key": self.prompt_keys,
            "event_type": self.event_types,
        }
        return ((name, values) for name, values in conditions.items() if values)

    def of_lines(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield the fields of a line that must match. Providers are kept in lower case."""
        if self.providers:
            yield "provider", tuple(provider.lower() for provider in self.providers)
        if self.models:
            yield "model", self.models

    @property
    def names(self) -> set[str]:
        """The fields of a series that must match."""
        return {name for name, _ in (*self.of_events(), *self.of_lines())}

    def matches(self, series: Series) -> bool:
        """Tell whether usage of a series counts, tags and times aside."""
        if not self._counts_sandbox(of_sandbox=series.sandbox):
            return False
        conditions = (*self.of_events(), *self.of_lines())
        return all(getattr(series, name) in values for name, values in conditions)

    def matches_event(self, settled: SettledEvent) -> bool:
        """Tell whether a settled event counts, times aside: one of its lines must match, if lines must."""
        event = settled.event
        if not self._counts_sandbox(of_sandbox=event.sandbox):
            return False
        if self.tags and not set(self.tags).intersection(event.attribution.tags):
            return False
        lines = [Series(*dimensions_of(event, line)) for line in settled.lines or (None,)]
        if any(getattr(lines[0], name) not in values for name, values in self.of_events()):
            return False
        fields = tuple(self.of_lines())
        return any(all(getattr(line, name) in values for name, values in fields) for line in lines)

    def _counts_sandbox(self, *, of_sandbox: bool) -> bool:
        if self.sandbox is not None:
            return of_sandbox is self.sandbox
        return self.include_sandbox or not of_sandbox


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """A question about usage or spend, checked."""

    filter: EventFilter = EventFilter()
    group_by: tuple[Dimension, ...] = ()
    granularity: Granularity = Granularity.TOTAL
    zone: ZoneInfo = ZoneInfo("UTC")  # noqa: RUF009 - zones are immutable and cached

    def __post_init__(self) -> None:
        if len(self.group_by) > DIMENSIONS_MAX:
            raise InvalidArgument("group_by", f"more than {DIMENSIONS_MAX} dimensions")
        if len(set(self.group_by)) < len(self.group_by):
            raise InvalidArgument("group_by", "a dimension is named twice")
        if self.by_tag and len(self.group_by) > 1:
            raise InvalidArgument("group_by", "tag totals overlap, so no other dimension goes beside tags")

    @property
    def by_tag(self) -> bool:
        """Whether each tag is a group."""
        return Dimension.TAG in self.group_by


# The number of a period (an hour, or a place in the list of periods) and the values of the group.
GroupKey = tuple[int, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class GroupSums:
    """What was summed for one group, quantities by unit."""

    counters: Counters
    quantities: Mapping[str, QuantitySum]


@dataclass(frozen=True, slots=True)
class GroupValue:
    """One value of a group; the display name is empty where there is none."""

    dimension: Dimension
    value: str
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One group of an answer. `period_start` is None where time was not cut."""

    period_start: int | None
    group: tuple[GroupValue, ...]
    counters: Counters
    quantities: Mapping[str, QuantitySum]


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The rows of an answer and the hours that were summed."""

    rows: tuple[UsageRow, ...]
    hours: HourRange


#: Gives the place of a group within its period.
Rank = Callable[[Counters], int]

#: Gives the names that people use for the values of a dimension, by value.
Names = Callable[[str, Dimension], Mapping[str, str]]


def group_sums(delta: RollupDelta, query: UsageQuery, *, cut: Cut) -> dict[GroupKey, GroupSums]:
    """Sum the rollups of whole events by period and group, leaving out what the filter does not want."""
    counters: dict[GroupKey, Counters] = {}
    quantities: dict[GroupKey, dict[str, QuantitySum]] = {}

    def group_of(key: RollupKey | QuantityKey) -> GroupKey | None:
        series = delta.series[key.organization_id, key.series_id]
        if key.tag != TAG_ALL or not query.filter.matches(series):
            return None
        return cut.number(key.hour), tuple(_value(series, dimension) for dimension in query.group_by)

    for key, counted in delta.counters.items():
        if (group := group_of(key)) is not None:
            accumulate(counters, group, addend=counted)
    for quantity_key, amount in delta.quantities.items():
        if (group := group_of(quantity_key)) is not None:
            accumulate(quantities.setdefault(group, {}), quantity_key.unit, addend=amount)
    return {group: GroupSums(counted, quantities.get(group, {})) for group, counted in counters.items()}


def usage_rows(
    sums: Mapping[GroupKey, GroupSums],
    query: UsageQuery,
    *,
    cut: Cut,
    names: Mapping[Dimension, Mapping[str, str]],
    rank: Rank,
) -> tuple[UsageRow, ...]:
    """Return the sums as rows, by period, then by rank, then by the values of the group.

    `names` has display names by dimension and value.
    """

    def place(item: tuple[GroupKey, GroupSums]) -> tuple[int, int, tuple[str, ...]]:
        (number, values), part = item
        return number, rank(part.counters), values

    known = [(dimension, names.get(dimension, {})) for dimension in query.group_by]
    return tuple(
        UsageRow(
            cut.start_time(number),
            tuple(
                [
                    GroupValue(dimension, value, called.get(value, ""))
                    for (dimension, called), value in zip(known, values, strict=True)
                ]
            ),
            part.counters,
            part.quantities,
        )
        for (number, values), part in sorted(sums.items(), key=place)
    )


def by_event_count(counters: Counters) -> int:
    """The order of usage within a period."""
    return -counters.event_count


def by_cost(counters: Counters) -> int:
    """The order of spend within a period."""
    return -counters.cost


def _value(series: Series, dimension: Dimension) -> str:
    """A series' value of any dimension but the tag; empty where it has none."""
    value = getattr(series, dimension.value)
    return "" if value is None else str(value)
