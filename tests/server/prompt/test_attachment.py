"""Which version an event gets, against the plainest reading of the history."""

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.event import Attribution, Event, EventType
from om_server.prompt.attachment import (
    Activation,
    Standing,
    Timeline,
    attached,
    late_times,
    prompt_keys,
)
from tests.server.analytics.examples import full_event

HISTORIES = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.lists(
        st.tuples(st.integers(1, 20), st.none() | st.integers(1, 3)), max_size=5, unique_by=lambda x: x[0]
    ),
)
EVENTS = st.lists(
    st.tuples(st.sampled_from(["", "a", "b", "new"]), st.none() | st.integers(0, 9), st.integers(0, 25)),
    max_size=8,
)


def event(key: str, version: int | None, time: int) -> Event:
    return Event(
        organization_id="org",
        source="api",
        event_id="e",
        event_type=EventType.TOKEN_USAGE,
        event_time=time,
        receive_time=time,
        attribution=Attribution(prompt_key=key, prompt_version=version, user_id="u"),
        lines=(),
    )


def expected(said: int | None, history: Sequence[tuple[int, int | None]], time: int) -> int | None:
    """What was said; else the last activation that is not after the event."""
    if said is not None:
        return said
    active = None
    for from_time, version in sorted(history, key=lambda pair: pair[0]):
        if from_time <= time:
            active = version
    return active


@pytest.mark.acceptance("B-155", "B-156", "B-209")
@given(HISTORIES, EVENTS)
def test_an_event_gets_the_version_that_was_active_at_its_time(
    histories: dict[str, list[tuple[int, int | None]]], told: list[tuple[str, int | None, int]]
) -> None:
    events = [event(*one) for one in told]
    timelines = {
        key: Timeline([Activation(*pair) for pair in sorted(pairs, key=lambda pair: pair[0])])
        for key, pairs in histories.items()
    }
    standings = {
        key: Standing(timeline.activations[-1].version, timeline.activations[-1].from_time)
        if timeline.activations
        else Standing()
        for key, timeline in timelines.items()
    }
    late = late_times(events, standings)
    # Of the history only that part is read.
    past = {
        key: Timeline([one for one in timelines[key].activations if one.from_time <= max(late.values())])
        for key in late
    }

    found = attached(events, standings, past=past)

    assert [one.attribution.prompt_version for one in found] == [
        expected(said, histories.get(key, []) if key else [], time) for key, said, time in told
    ]
    unlabelled = dataclasses.replace(Attribution(), user_id="u")
    assert {dataclasses.replace(one.attribution, prompt_key="", prompt_version=None) for one in found} <= {
        unlabelled
    }


def test_nothing_else_of_an_event_changes() -> None:
    before = full_event().event
    said = dataclasses.replace(before.attribution, prompt_version=None)
    before = dataclasses.replace(before, attribution=said)

    (after,) = attached([before], {said.prompt_key: Standing(4, 1)}, past={})

    assert after == dataclasses.replace(before, attribution=dataclasses.replace(said, prompt_version=4))


def test_history_is_read_only_for_events_before_the_last_activation() -> None:
    standings = {"a": Standing(2, 10), "b": Standing(None, 10), "c": Standing()}

    assert late_times([event("a", None, 10), event("c", None, 0), event("new", None, 0)], standings) == {}
    assert late_times([event("a", 1, 5), event("", None, 5)], standings) == {}
    assert late_times([event("b", None, 9), event("b", None, 3), event("a", None, 4)], standings) == {
        "b": 9,
        "a": 4,
    }


def test_prompts_are_named_once_and_in_order() -> None:
    assert prompt_keys([event("b", 1, 0), event("", None, 0), event("a", None, 0), event("b", None, 0)]) == [
        "a",
        "b",
    ]
