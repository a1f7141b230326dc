"""Dead letters that come back, or are dropped, with the money that was set aside for them."""

from collections.abc import Iterable, Sequence

import pytest
from structlog.testing import capture_logs

from om_server.analytics.settled import SettledState
from om_server.core.errors import DependencyUnavailable, InvalidArgument
from om_server.core.event import SOURCE_PROXY, Event, Outcome
from om_server.core.page import PageRequest
from om_server.core.usage import UnitUnknown
from om_server.ingestion.operations import Reported
from om_server.ingestion.standing import LetterResult, LetterState
from om_server.ingestion.store import DeadLetter
from om_server.pipeline.letter_replay import LetterReplay
from om_server.pipeline.settle import Settler
from om_server.wallet.leases.lease import LeaseState
from om_server.wallet.limits.limit import CREDITS, EVENTS
from tests.server.pipeline.edge_scene import leased, outcome
from tests.server.pipeline.harness import CREDIT, INPUT_CHARGE, Tenant, World, rows_of, tokens
from tests.server.pipeline.test_dead_letter import Stubborn, kill, the_lease
from tests.server.pipeline.test_limits import limited, reserved, used

GRANTED = 1_000 * CREDIT
USED = 200 * INPUT_CHARGE
CHARGE = 1_000 * INPUT_CHARGE

SETTLED, DISCARDED, FAILED, NOT_FOUND = (
    LetterState.SETTLED,
    LetterState.DISCARDED,
    LetterState.FAILED,
    LetterState.NOT_FOUND,
)


def letters(world: World, tenant: Tenant) -> list[DeadLetter]:
    return world.ingestion.list_dead_letters(tenant.organization_id, PageRequest.of())[0]


def replay(world: World, tenant: Tenant, *letter_ids: str) -> list[LetterResult]:
    return world.replay.replay(tenant.organization_id, letter_ids, actor="key_1")


def discard(world: World, tenant: Tenant, *letter_ids: str) -> list[LetterResult]:
    return world.replay.discard(tenant.organization_id, letter_ids, actor="key_1")


def states(results: Iterable[LetterResult]) -> list[tuple[str, LetterState]]:
    return [(result.event_id, result.state) for result in results]


def stubborn(world: World, *poison: str) -> LetterReplay:
    """Replays through settlement that still fails with these events."""
    return LetterReplay(
        world.database,
        world.ingestion_store,
        Stubborn(world, poison),
        wallet=world.wallet,
        limits=world.limits,
        trail=world.trail,
    )


def test_letters_settle_and_are_gone(world: World, tenant: Tenant) -> None:
    kill(world, *(world.event(tenant, f"e{number}") for number in range(3)))

    with capture_logs() as logs:
        results = replay(world, tenant)

    assert states(results) == [("e0", SETTLED), ("e1", SETTLED), ("e2", SETTLED)]
    assert world.money(tenant) == (GRANTED - 3 * CHARGE, 0, 0)
    assert letters(world, tenant) == []
    audited = [log for log in logs if log["event"] == "dead_letter_replayed"]
    assert [(log["event_id"], log["actor"]) for log in audited] == [(f"e{n}", "key_1") for n in range(3)]


def test_a_repeat_settles_nothing_and_says_so(world: World, tenant: Tenant) -> None:
    kill(world, world.event(tenant))
    [letter] = letters(world, tenant)
    replay(world, tenant, letter.dead_letter_id)
    before = rows_of(world.database)

    results = replay(world, tenant, letter.dead_letter_id, letter.dead_letter_id)

    assert states(results) == [("", NOT_FOUND)]
    assert rows_of(world.database) == before
    assert replay(world, tenant) == []


def test_only_what_is_named_is_replayed_in_the_order_asked_for(world: World, tenant: Tenant) -> None:
    kill(world, *(world.event(tenant, f"e{number}") for number in range(3)))
    ids = {letter.event_id: letter.dead_letter_id for letter in letters(world, tenant)}

    results = replay(world, tenant, ids["e2"], ids["e0"])

    assert states(results) == [("e2", SETTLED), ("e0", SETTLED)]
    assert [letter.event_id for letter in letters(world, tenant)] == ["e1"]


def test_letters_of_another_organization_are_not_there(world: World, tenant: Tenant) -> None:
    kill(world, world.event(tenant))
    [letter] = letters(world, tenant)
    stranger = world.tenant("Ironmonger")

    for act in (replay, discard):
        assert states(act(world, stranger, letter.dead_letter_id)) == [("", NOT_FOUND)]

    assert len(letters(world, tenant)) == 1


def test_it_settles_from_its_hold_and_frees_the_rest(world: World, tenant: Tenant) -> None:
    lease = leased(world, tenant)
    dead = outcome(world, tenant, lease, retained=CREDIT * 3 // 4)
    kill(world, dead)
    assert the_lease(world, tenant).state is LeaseState.CLOSED
    assert world.money(tenant) == (GRANTED - CREDIT * 3 // 4, CREDIT * 3 // 4, 0)

    assert states(replay(world, tenant)) == [("evt_1", SETTLED)]

    assert world.money(tenant) == (GRANTED - USED, 0, 0)
    assert the_lease(world, tenant).settled_count == 1
    assert world.settler.settle([dead]) == 0


def test_a_letter_that_nobody_counted_yet_settles_from_its_lease(world: World, tenant: Tenant) -> None:
    lease = leased(world, tenant)
    dead = outcome(world, tenant, lease)
    set_aside(world, dead)

    replay(world, tenant)

    assert world.settler.count_dead_letters() == 0
    assert the_lease(world, tenant).state is LeaseState.CLOSED
    assert world.money(tenant) == (GRANTED - USED, 0, 0)


def set_aside(world: World, event: Event) -> None:
    """Write a letter without moving its money, as a worker does just before it."""
    settler = Stubborn(world, [event.event_id])
    settler.count_dead_letters = lambda: 0  # type: ignore[method-assign] # The moment before it.
    world.queue([event])
    world.worker(settler).settle_once()


def test_what_fails_again_stays_with_its_attempts_and_stops_no_other(world: World, tenant: Tenant) -> None:
    lease = leased(world, tenant)
    kill(world, *(world.event(tenant, f"e{number}") for number in range(4)), outcome(world, tenant, lease))
    held = world.money(tenant)[1]

    results = stubborn(world, "e2", "evt_1").replay(tenant.organization_id, [], actor="key_1")

    assert {result.event_id for result in results if result.state is FAILED} == {"e2", "evt_1"}
    assert {result.reason for result in results if result.state is FAILED} == {"UNKNOWN_UNIT"}
    assert {(letter.event_id, letter.attempt_count) for letter in letters(world, tenant)} == {
        ("e2", 3),
        ("evt_1", 3),
    }
    assert world.money(tenant) == (GRANTED - 3 * CHARGE - held, held, 0)


def test_the_text_of_an_unexpected_error_is_not_kept(world: World, tenant: Tenant) -> None:
    kill(world, world.event(tenant))

    class _Breaks(Settler):
        def _settle(self, events: Sequence[Event]) -> int:
            raise RuntimeError("secret of a customer")

    broken = LetterReplay(
        world.database,
        world.ingestion_store,
        _Breaks(world.database, world.slices, world.clock),
        wallet=world.wallet,
        limits=world.limits,
        trail=world.trail,
    )
    [result] = broken.replay(tenant.organization_id, [], actor="key_1")

    assert (result.reason, result.message) == ("INTERNAL", "RuntimeError")
    assert "of a customer" not in repr(rows_of(world.database))


def test_a_database_that_is_away_is_no_attempt(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = leased(world, tenant)
    kill(world, world.event(tenant), outcome(world, tenant, lease))
    before = rows_of(world.database)

    def away(*_: object, **__: object) -> None:
        raise DependencyUnavailable

    monkeypatch.setattr(world.wallet, "settle_charges", away)
    with pytest.raises(DependencyUnavailable):
        replay(world, tenant)
    monkeypatch.setattr(world.wallet, "discard_event", away)
    with pytest.raises(DependencyUnavailable):
        discard(world, tenant)

    assert rows_of(world.database) == before


def test_what_intake_refused_is_checked_again(world: World, tenant: Tenant) -> None:
    """Without its lines it would be stored as an event that waits for a price for ever."""
    event = outcome(world, tenant, leased(world, tenant), lines=(), payload_hash="")
    world.ingestion.ingest(tenant.organization_id, [Reported(event, time_supplied=True)], from_edge=True)

    [result] = replay(world, tenant)

    assert (result.state, result.reason) == (FAILED, "EVENT_EMPTY")
    assert [letter.attempt_count for letter in letters(world, tenant)] == [1]


def test_what_intake_refused_by_a_rule_that_fell_settles(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = outcome(world, tenant, leased(world, tenant), payload_hash="", event_time=world.clock.now + 1)

    def refuse(_: Event) -> None:
        raise InvalidArgument("lines", "a rule of yesterday")

    with monkeypatch.context() as patch:
        patch.setattr("om_server.ingestion.operations.check_consumption", refuse)
        world.ingestion.ingest(tenant.organization_id, [Reported(event, time_supplied=True)], from_edge=True)
    world.settler.count_dead_letters()

    assert states(replay(world, tenant)) == [("evt_1", SETTLED)]

    settled = world.settled(event)
    assert (settled.event.event_time, settled.flags) == (world.clock.now, ("time_clamped",))
    assert world.money(tenant) == (GRANTED - USED, 0, 0)


def test_a_replay_without_a_price_keeps_its_money_aside(world: World, tenant: Tenant) -> None:
    lines = (tokens(200, model="a-model-nobody-knows"),)
    dead = outcome(world, tenant, leased(world, tenant), lines=lines, retained=CREDIT // 4)
    kill(world, dead)

    assert states(replay(world, tenant)) == [("evt_1", SETTLED)]

    assert world.settled(dead).state is SettledState.UNRATED
    assert world.money(tenant) == (GRANTED - CREDIT // 4, CREDIT // 4, 0)


def test_an_event_whose_key_is_anothers_frees_what_was_held(world: World, tenant: Tenant) -> None:
    lease = leased(world, tenant)
    dead = outcome(world, tenant, lease, idempotency_key="k")
    kill(world, dead)
    world.settler.settle([world.event(tenant, "first", idempotency_key="k", sandbox=True)])

    assert states(replay(world, tenant)) == [("evt_1", SETTLED)]

    assert world.money(tenant) == (GRANTED, 0, 0)
    assert letters(world, tenant) == []


@pytest.mark.parametrize("counted", [False, True])
def test_a_discarded_letter_frees_its_money_and_its_lease(
    world: World, tenant: Tenant, *, counted: bool
) -> None:
    lease = leased(world, tenant)
    dead = outcome(world, tenant, lease, retained=CREDIT // 4)
    (kill if counted else set_aside)(world, dead)

    with capture_logs() as logs:
        results = discard(world, tenant)

    assert states(results) == [("evt_1", DISCARDED)]
    assert letters(world, tenant) == []
    assert world.money(tenant) == (GRANTED, 0, 0)
    assert the_lease(world, tenant).state is LeaseState.CLOSED
    assert [(log["event"], log["actor"]) for log in logs] == [("dead_letter_discarded", "key_1")]
    entries = world.wallet.list_entries(
        tenant.organization_id, lease.wallet_id, page=PageRequest.of()
    ).entries
    assert entries[0].description.startswith("key_1: discarded dlt_")
    assert discard(world, tenant) == []


def test_a_discarded_letter_of_an_application_only_goes(world: World, tenant: Tenant) -> None:
    kill(world, world.event(tenant))

    assert states(discard(world, tenant)) == [("e1", DISCARDED)]

    assert world.money(tenant) == (GRANTED, 0, 0)


def test_a_letter_whose_twin_is_settled_leaves_the_twins_money_alone(world: World, tenant: Tenant) -> None:
    """The twin waits for its end at the provider, and what is held is its."""
    dead = outcome(world, tenant, leased(world, tenant), outcome=Outcome.DEFERRED, retained=CREDIT // 4)
    kill(world, dead)
    world.settler.settle([dead])
    assert world.money(tenant) == (GRANTED - CREDIT // 4, CREDIT // 4, 0)

    assert states(discard(world, tenant)) == [("evt_1", DISCARDED)]

    assert world.money(tenant) == (GRANTED - CREDIT // 4, CREDIT // 4, 0)
    assert letters(world, tenant) == []


def test_a_letter_that_was_discarded_meanwhile_sets_nothing_aside(world: World, tenant: Tenant) -> None:
    """The counter has read it before, and comes to move its money after."""
    lease = leased(world, tenant)
    set_aside(world, outcome(world, tenant, lease))
    [letter] = letters(world, tenant)
    stale = world.database.read(lambda: world.ingestion_store.uncounted_letters(10))
    discard(world, tenant, letter.dead_letter_id)
    world.ingestion_store.uncounted_letters = lambda limit: stale  # type: ignore[method-assign]

    world.settler.count_dead_letters()

    assert world.money(tenant) == (GRANTED, 0, 0)


def test_a_letter_that_cannot_be_discarded_stays(
    world: World, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(world, world.event(tenant))

    def broken(*_: object, **__: object) -> None:
        raise UnitUnknown("odd")

    monkeypatch.setattr(world.wallet, "discard_event", broken)

    [result] = discard(world, tenant)

    assert (result.state, result.reason) == (FAILED, "UNKNOWN_UNIT")
    assert len(letters(world, tenant)) == 1


def test_a_letter_whose_source_is_an_edge_ends_for_the_edge_when_it_is_discarded(
    world: World, tenant: Tenant
) -> None:
    lease = leased(world, tenant)
    dead = outcome(world, tenant, lease)
    set_aside(world, dead)
    assert dead.edge is not None
    assert dead.source == SOURCE_PROXY

    discard(world, tenant)

    settled = world.changes.settled([dead.edge.edge_id])[dead.edge.edge_id]
    assert [(part.first, part.last) for part in settled[dead.edge.edge_epoch]] == [(1, 1)]


def test_all_takes_those_that_were_tried_least(world: World, tenant: Tenant) -> None:
    kill(world, world.event(tenant, "e0"), world.event(tenant, "e1"))
    ids = {letter.event_id: letter.dead_letter_id for letter in letters(world, tenant)}
    stubborn(world, "e0").replay(tenant.organization_id, [ids["e0"]], actor="key_1")

    found = world.database.read(
        lambda: world.ingestion_store.dead_letters(tenant.organization_id, [], limit=1)
    )

    assert [letter.event_id for letter in found] == ["e1"]


@pytest.mark.parametrize("counted", [False, True])
def test_a_discarded_letter_gives_back_what_limits_reserved_for_it(
    world: World, tenant: Tenant, *, counted: bool
) -> None:
    limit = limited(world, tenant, 10 * CREDIT, unit=CREDITS)
    lease = leased(world, tenant)
    dead = outcome(world, tenant, lease)
    (kill if counted else set_aside)(world, dead)
    assert reserved(world, limit) == CREDIT

    discard(world, tenant)

    assert reserved(world, limit) == 0


def test_a_replayed_letter_turns_what_was_reserved_into_what_is_used(world: World, tenant: Tenant) -> None:
    limit = limited(world, tenant, 10 * CREDIT, unit=CREDITS)
    kill(world, outcome(world, tenant, leased(world, tenant)))
    assert (used(world, tenant, limit), reserved(world, limit)) == (0, CREDIT)

    replay(world, tenant)

    assert (used(world, tenant, limit), reserved(world, limit)) == (USED, 0)


@pytest.mark.parametrize("model", ["gpt-4o", "a-model-nobody-knows"])
def test_a_limit_of_events_waits_for_a_letter_until_it_is_settled(
    world: World, tenant: Tenant, model: str
) -> None:
    """Otherwise another call takes its place, and with the replay the limit is passed."""
    limit = limited(world, tenant, 10, unit=EVENTS)
    kill(world, outcome(world, tenant, leased(world, tenant), lines=(tokens(200, model=model),)))
    assert (used(world, tenant, limit), reserved(world, limit)) == (0, 1)

    replay(world, tenant)

    assert (used(world, tenant, limit), reserved(world, limit)) == (1, 0)
