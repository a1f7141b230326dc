from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from om_server.analytics.event_store import EventStore, cursor_of
from om_server.analytics.query import EventFilter
from om_server.analytics.settled import SettledEvent, SettledState
from om_server.core.event import Outcome, UsageLine
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.storage.batch import RowsContended
from om_server.storage.database import Database
from tests.server.analytics.examples import NOW, ORG, OTHER_ORG, full_event, line, settled
from tests.server.analytics.rolled_back import rolled_back

EVERYTHING = EventFilter()


@pytest.fixture
def store(database: Database) -> EventStore:
    return EventStore(database)


def add(database: Database, store: EventStore, *events: SettledEvent) -> None:
    database.write(lambda: store.add(events))


def matching(database: Database, store: EventStore, wanted: EventFilter) -> list[str]:
    found = database.read(lambda: list(store.scan(ORG, wanted)))
    assert database.read(lambda: store.count(ORG, wanted)) == len(found)
    return sorted(item.event.event_id for item in found)


def test_an_event_comes_back_with_everything_that_is_kept(database: Database, store: EventStore) -> None:
    event = full_event()
    add(database, store, event)

    assert database.read(lambda: store.find(ORG, source="proxy", event_id=event.event.event_id)) == event


def test_lines_come_back_in_order(database: Database, store: EventStore) -> None:
    event = settled("e", *(line(f"m{number}", cost=number) for number in range(12)))
    add(database, store, event)

    found = database.read(lambda: store.find(ORG, source="api", event_id="e"))

    assert found == event


def test_an_unknown_quantity_comes_back_unknown(database: Database, store: EventStore) -> None:
    usage = Usage((Quantity("input_tokens", None, Certainty.UNKNOWN), Quantity("output_tokens", 0)))
    part = replace(line(cost=None, charge=None), line=UsageLine("openai", "m", usage))
    event = settled("e", part, state=SettledState.UNRATED, cost=None, charge=None)
    add(database, store, event)

    found = database.read(lambda: store.find(ORG, source="api", event_id="e"))

    assert found == event


def test_an_unrated_event_is_kept_without_amounts(database: Database, store: EventStore) -> None:
    add(database, store, settled("e", line(cost=None), state=SettledState.UNRATED, cost=None))

    found = database.read(lambda: store.find(ORG, source="api", event_id="e"))

    assert found is not None
    assert (found.charge, found.lines[0].charge) == (None, None)


def test_the_same_id_of_another_source_or_organization_is_another_event(
    database: Database, store: EventStore
) -> None:
    twins = [
        settled("e", line("m1")),
        settled("e", line("m2"), source="batch"),
        settled("e", line("m3"), organization_id=OTHER_ORG),
    ]
    add(database, store, *twins)

    def find(organization_id: str, source: str) -> SettledEvent | None:
        return database.read(lambda: store.find(organization_id, source=source, event_id="e"))

    assert [find(ORG, "api"), find(ORG, "batch"), find(OTHER_ORG, "api")] == twins
    assert find(OTHER_ORG, "batch") is None
    assert database.read(lambda: store.count(ORG, EVERYTHING)) == 2


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (EventFilter(), ["e1", "e2", "e3", "e4"]),
        (EventFilter(providers=("OpenAI",)), ["e1", "e2"]),
        (EventFilter(models=("claude-4", "none")), ["e2", "e3"]),
        (EventFilter(providers=("openai",), models=("claude-4",)), []),
        (EventFilter(feature_ids=("f1", "f2")), ["e1", "e2"]),
        (EventFilter(customer_ids=("c1",)), ["e1"]),
        (EventFilter(user_ids=("u1",)), ["e1"]),
        (EventFilter(team_ids=("t1",)), ["e1"]),
        (EventFilter(key_ids=("k1",)), ["e1"]),
        (EventFilter(prompt_keys=("p1",)), ["e1"]),
        (EventFilter(customer_ids=("",)), ["e2", "e3", "e4"]),
        (EventFilter(feature_ids=("f1", "f2"), models=("claude-4",)), ["e2"]),
        (EventFilter(models=("",)), ["e4"]),
        (EventFilter(providers=("", "anthropic"), models=("", "gpt-4o")), ["e4"]),
        (EventFilter(providers=("anthropic",), models=("",)), []),
        (EventFilter(start_time=NOW), ["e1", "e2"]),
        (EventFilter(end_time=NOW), ["e3", "e4"]),
        (EventFilter(start_time=NOW - 1, end_time=NOW + 1), ["e1", "e3"]),
    ],
)
def test_all_conditions_and_any_value_of_each_must_match(
    database: Database, store: EventStore, wanted: EventFilter, ids: list[str]
) -> None:
    ids_of_first = {
        "feature_id": "f1",
        "customer_id": "c1",
        "user_id": "u1",
        "team_id": "t1",
        "key_id": "k1",
        "prompt_key": "p1",
    }
    add(
        database,
        store,
        settled("e1", line("gpt-4o"), **ids_of_first),
        settled("e2", line("gpt-4o"), line("claude-4"), feature_id="f2", event_time=NOW + 1),
        settled("e3", line("claude-4"), event_time=NOW - 1, sandbox=True),
        replace(settled("e4", event_time=NOW - 9), lines=(), cost=0, charge=0),
        settled("e9", line("gpt-4o"), **ids_of_first, organization_id=OTHER_ORG),
    )

    assert matching(database, store, wanted) == ids


TRICKY_TAGS = ["a", "A", "ab", ",", '"', '","', "%", "_", "\\", "\n", "a\nb", "é", " ", "[", "\\n"]


@pytest.mark.parametrize("tag", TRICKY_TAGS)
def test_a_tag_matches_only_itself(database: Database, store: EventStore, tag: str) -> None:
    add(database, store, *(settled(f"e{place}", tags=(other,)) for place, other in enumerate(TRICKY_TAGS)))
    add(database, store, settled("all", tags=tuple(TRICKY_TAGS)), settled("none"))
    add(database, store, settled("rest", tags=tuple(other for other in TRICKY_TAGS if other != tag)))

    assert matching(database, store, EventFilter(tags=(tag,))) == sorted(
        ["all", f"e{TRICKY_TAGS.index(tag)}"]
    )


def test_any_of_several_tags_will_do_and_counts_once(database: Database, store: EventStore) -> None:
    add(
        database,
        store,
        settled("both", tags=("a", "b")),
        settled("one", tags=("b",)),
        settled("other", tags=("c",)),
    )

    assert matching(database, store, EventFilter(tags=("a", "b"))) == ["both", "one"]


_PLACES = st.tuples(st.integers(0, 2), st.sampled_from("abcB"), st.sampled_from(["api", "x"]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_PLACES, unique_by=lambda place: place[1:]))
def test_pages_follow_each_other_without_gap_or_overlap(
    database: Database, store: EventStore, places: list[tuple[int, str, str]]
) -> None:
    events = [settled(name, event_time=NOW + time, source=source) for time, name, source in places]

    def one_by_one() -> list[SettledEvent]:
        store.add(events)
        found: list[SettledEvent] = []
        while page := store.page(
            ORG, EVERYTHING, after=cursor_of(found[-1]) if found else None, skip=0, limit=1
        ):
            found += page
        return found

    found = rolled_back(database, one_by_one)

    assert sorted(found, key=cursor_of) == sorted(events, key=cursor_of)
    times = [item.event.event_time for item in found]
    assert times == sorted(times, reverse=True)


def test_at_one_time_the_greater_id_comes_first(database: Database, store: EventStore) -> None:
    add(database, store, settled("e1"), settled("e3"), settled("e2", source="x"), settled("e2"))

    found = database.read(lambda: store.page(ORG, EVERYTHING, after=None, skip=1, limit=2))

    assert [(item.event.event_id, item.event.source) for item in found] == [("e2", "x"), ("e2", "api")]


def test_another_end_of_an_event_takes_the_place_of_its_lines_and_of_nothing_else(
    database: Database, store: EventStore
) -> None:
    before = settled("e", *(line(f"m{number}", cost=number) for number in range(3)))
    add(database, store, before, settled("e", line("other"), source="proxy"))
    ended = settled("e", line("m9", cost=7, charge=8), outcome=Outcome.ESTIMATED)

    database.write(lambda: store.replace([before], [ended]))

    assert database.read(lambda: store.find(ORG, source="api", event_id="e")) == ended
    found = database.write(lambda: store.lock(ORG, [("proxy", "e"), ("api", "e"), ("api", "none")]))
    assert [[share.line.model for share in one.lines] for one in found] == [["m9"], ["other"]]


def test_another_end_of_an_event_that_changed_meanwhile_is_not_written(
    database: Database, store: EventStore
) -> None:
    stored = settled("e", line(cost=1))
    add(database, store, stored)
    stale = replace(stored, state=SettledState.UNRATED)

    with pytest.raises(RowsContended):
        database.write(lambda: store.replace([stale], [settled("e", line("m9", cost=7))]))

    assert database.read(lambda: store.find(ORG, source="api", event_id="e")) == stored
