"""Prompts that come into being by use, and the versions that settlement attaches."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from om_server.analytics.query import Dimension, EventFilter, UsageQuery
from om_server.core.event import Attribution, Event, Outcome
from om_server.core.page import PageRequest
from om_server.pipeline.settle import Settler
from om_server.prompt.version import Configuration, Prompt, VersionRequest
from tests.server.pipeline.harness import INPUT_COST, SECOND, START, Tenant, World

KEY = "document-summarizer"
COST = 1_000 * INPUT_COST


def event(world: World, tenant: Tenant, event_id: str = "e1", **changes: Any) -> Event:
    """An event of the prompt. Changes may name fields of the attribution, or of the event."""
    names = {field.name for field in dataclasses.fields(Attribution)}
    labels = {"prompt_key": KEY, **{name: changes.pop(name) for name in names & changes.keys()}}
    return world.event(tenant, event_id, attribution=Attribution(team_id=tenant.team_id, **labels), **changes)


def prompts(world: World, tenant: Tenant) -> list[Prompt]:
    return list(world.prompts.list_prompts(tenant.organization_id, PageRequest()).prompts)


def add_version(world: World, tenant: Tenant, key: str = KEY, *, active: bool = True) -> int:
    number = world.prompts.version_count(tenant.organization_id, key) + 1
    request = VersionRequest(key, Configuration(), f"{key}-{number}", active)
    return world.prompts.create_version(tenant.organization_id, request).version


def activate(world: World, tenant: Tenant, version: int | None, *, key: str = KEY) -> None:
    world.prompts.activate_version(tenant.organization_id, key, version)


def version_of(world: World, settled: Event) -> int | None:
    return world.settled(settled).event.attribution.prompt_version


def compared(world: World, tenant: Tenant, key: str = KEY) -> list[tuple[int | None, bool, int, int]]:
    """Version, whether registered, events and cost."""
    rows = world.analytics.compare_versions(
        tenant.organization_id,
        key,
        wanted=EventFilter(),
        version_count=world.prompts.version_count(tenant.organization_id, key),
    )
    return [(row.version, row.registered, row.counters.event_count, row.counters.cost) for row in rows]


@pytest.mark.acceptance("B-158", "B-159", "B-202")
def test_a_prompt_comes_into_being_on_its_first_use_and_another_key_is_another_prompt(
    world: World, tenant: Tenant
) -> None:
    world.settler.settle([event(world, tenant, "e1"), event(world, tenant, "e2")])
    world.clock.advance(60)
    world.settler.settle([event(world, tenant, "e3"), event(world, tenant, "e4", prompt_key=f"{KEY}-2")])

    assert [
        (prompt.prompt_key, prompt.auto_created, prompt.create_time) for prompt in prompts(world, tenant)
    ] == [
        (KEY, True, START),
        (f"{KEY}-2", True, START + 60 * SECOND),
    ]
    assert compared(world, tenant) == [(None, False, 3, 3 * COST)]
    assert compared(world, tenant, f"{KEY}-2") == [(None, False, 1, COST)]


def test_what_was_registered_before_stays_as_it_is(world: World, tenant: Tenant) -> None:
    registered = world.prompts.create_prompt(tenant.organization_id, KEY, description="by hand")

    world.settler.settle([event(world, tenant)])

    assert prompts(world, tenant) == [registered]


@pytest.mark.acceptance("B-157")
def test_an_event_without_a_prompt_makes_none_and_one_that_says_unknown_is_told_under_it(
    world: World, tenant: Tenant
) -> None:
    world.settler.settle(
        [event(world, tenant, prompt_key=""), event(world, tenant, "e2", prompt_key="unknown")]
    )

    assert [prompt.prompt_key for prompt in prompts(world, tenant)] == ["unknown"]


def test_prompts_are_of_one_organization(world: World, tenant: Tenant) -> None:
    other = world.tenant("Millinery", granted=10**12)
    add_version(world, other)

    ours, theirs = event(world, tenant), event(world, other)
    world.settler.settle([ours, theirs])

    assert (version_of(world, ours), version_of(world, theirs)) == (None, 1)
    assert [prompt.auto_created for prompt in (*prompts(world, tenant), *prompts(world, other))] == [
        True,
        False,
    ]


@pytest.mark.acceptance("B-155", "B-156", "B-207", "B-209")
def test_a_version_is_as_it_was_said_and_else_the_one_that_is_active_or_none(
    world: World, tenant: Tenant
) -> None:
    untracked = event(world, tenant, "untracked")
    world.settler.settle([untracked])
    world.clock.advance(1)
    add_version(world, tenant)
    add_version(world, tenant)
    world.clock.advance(1)
    current, said = event(world, tenant, "current"), event(world, tenant, "said", prompt_version=1)
    world.settler.settle([current, said])
    activate(world, tenant, None)
    world.clock.advance(1)
    after = event(world, tenant, "after")
    world.settler.settle([after])

    assert [version_of(world, one) for one in (untracked, current, said, after)] == [None, 2, 1, None]
    assert compared(world, tenant) == [(1, True, 1, COST), (2, True, 1, COST), (None, False, 2, 2 * COST)]


@pytest.mark.acceptance("B-204")
def test_a_version_that_nobody_registered_is_recorded_and_shown_as_that(world: World, tenant: Tenant) -> None:
    add_version(world, tenant)

    world.settler.settle(
        [event(world, tenant, prompt_version=7), event(world, tenant, "e0", prompt_version=0)]
    )

    assert compared(world, tenant) == [(0, False, 1, COST), (1, True, 0, 0), (7, False, 1, COST)]


def test_late_events_get_the_version_of_their_own_time(world: World, tenant: Tenant) -> None:
    """Of seconds 0 to 7 after the start: nothing, then 1, then none, then 2."""
    for _ in range(2):
        add_version(world, tenant, active=False)
    for second, version in ((2, 1), (4, None), (6, 2)):
        world.clock.now = START + second * SECOND
        activate(world, tenant, version)
    world.clock.now = START + 7 * SECOND

    late = [event(world, tenant, f"at-{second}", event_time=START + second * SECOND) for second in range(8)]
    world.settler.settle(late)

    assert [version_of(world, one) for one in late] == [None, None, 1, 1, None, None, 2, 2]


def test_histories_of_prompts_and_organizations_are_apart(world: World, tenant: Tenant) -> None:
    other = world.tenant("Millinery", granted=10**12)
    for who, key in ((other, KEY), (tenant, KEY), (tenant, "second"), (tenant, "third")):
        add_version(world, who, key, active=False)
    for second, who, key, version in (
        (1, other, KEY, 1),
        (1, tenant, "third", 1),
        (3, tenant, KEY, 1),
        (5, tenant, "second", 1),
        (7, tenant, KEY, None),
        (8, tenant, "second", None),
    ):
        world.clock.now = START + second * SECOND
        activate(world, who, version, key=key)

    late = [
        event(world, tenant, f"{key}-{second}", prompt_key=key, event_time=START + second * SECOND)
        for key, second in ((KEY, 2), (KEY, 4), ("second", 4), ("second", 6), ("third", 2))
    ]
    world.settler.settle(late)

    assert [version_of(world, one) for one in late] == [None, 1, None, 1, 1]


def test_an_event_at_the_moment_of_an_activation_belongs_to_it(world: World, tenant: Tenant) -> None:
    add_version(world, tenant)
    add_version(world, tenant)

    # Both were activated while the clock stood still, and the second came after the first.
    first, second, third = (
        event(world, tenant, f"e{micros}", event_time=START + micros) for micros in (-1, 0, 1)
    )
    world.settler.settle([first, second, third])

    assert [version_of(world, one) for one in (first, second, third)] == [None, 1, 2]


def test_a_redelivery_changes_nothing_whatever_is_active_by_then(world: World, tenant: Tenant) -> None:
    add_version(world, tenant)
    add_version(world, tenant, active=False)
    once = event(world, tenant)
    world.settler.settle([once])
    activate(world, tenant, 2)
    world.clock.advance(1)

    assert world.settler.settle([once]) == 0

    assert version_of(world, once) == 1
    assert compared(world, tenant) == [(1, True, 1, COST), (2, True, 0, 0)]


def test_a_call_that_failed_and_one_in_the_sandbox_name_their_prompts_too(
    world: World, tenant: Tenant
) -> None:
    world.settler.settle(
        [
            event(world, tenant, "failed", prompt_key="failed", lines=(), outcome=Outcome.ZERO),
            event(world, tenant, "tried", prompt_key="tried", sandbox=True),
        ]
    )

    assert [prompt.prompt_key for prompt in prompts(world, tenant)] == ["failed", "tried"]


def test_a_settlement_that_fails_leaves_no_prompt_and_the_next_one_makes_it(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("no more")

    with monkeypatch.context() as broken:
        # The last step of a settlement.
        broken.setattr("om_server.pipeline.settle.acknowledge", fail)
        with pytest.raises(RuntimeError, match="no more"):
            world.settler.settle([event(world, tenant)])
    assert prompts(world, tenant) == []

    world.settler.settle([event(world, tenant)])

    assert [prompt.prompt_key for prompt in prompts(world, tenant)] == [KEY]


def test_settlers_that_meet_new_prompts_at_once_make_each_of_them_once(world: World, tenant: Tenant) -> None:
    def settle(number: int) -> int:
        settler = Settler(world.database, world.slices, world.clock)
        keys = [f"prompt-{index}" for index in range(5)]
        if number % 2:
            keys.reverse()
        batch = [event(world, tenant, f"{number}-{key}", prompt_key=key) for key in keys]
        return settler.settle(batch)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(settle, range(6))) == 30

    assert [prompt.prompt_key for prompt in prompts(world, tenant)] == [
        f"prompt-{index}" for index in range(5)
    ]


@pytest.mark.acceptance("B-201", "B-204")
def test_the_sums_of_prompts_and_versions_are_those_of_the_events_to_the_nano(
    world: World, tenant: Tenant
) -> None:
    add_version(world, tenant)
    world.clock.advance(1)
    world.settler.settle(
        [
            event(world, tenant, "a"),
            event(world, tenant, "b", prompt_version=3),
            event(world, tenant, "c", prompt_key="other"),
            event(world, tenant, "d", prompt_key=""),
        ]
    )

    def spent(*group: Dimension) -> dict[tuple[str, ...], tuple[int, int]]:
        query = UsageQuery(EventFilter(start_time=0), group_by=group)
        rows = world.analytics.query_spend(tenant.organization_id, query).rows
        return {
            tuple(part.value for part in row.group): (row.counters.event_count, row.counters.cost)
            for row in rows
        }

    assert spent(Dimension.PROMPT) == {(KEY,): (2, 2 * COST), ("other",): (1, COST), ("",): (1, COST)}
    assert spent(Dimension.PROMPT, Dimension.PROMPT_VERSION) == {
        (KEY, "1"): (1, COST),
        (KEY, "3"): (1, COST),
        ("other", ""): (1, COST),
        ("", ""): (1, COST),
    }
    assert spent() == {(): (4, 4 * COST)}
