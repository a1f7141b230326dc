"""Dead letters without an event in them: a replay says why it settles nothing, a discard frees the money."""

import pytest

from om_server.core.errors import InvalidArgument
from om_server.core.event import Funding
from om_server.core.page import PageRequest
from om_server.ingestion import envelope
from om_server.ingestion.envelope import Unread
from om_server.ingestion.standing import LetterResult, LetterState
from om_server.ingestion.store import DeadLetter
from om_server.wallet.leases.lease import Lease, LeaseState
from tests.server.pipeline.edge_scene import leased, outcome
from tests.server.pipeline.harness import CREDIT, EDGE, Tenant, World
from tests.server.pipeline.test_dead_letter import kill, the_lease

GRANTED = 1_000 * CREDIT
TOO_MANY = InvalidArgument("lines", "too many")


def letters(world: World, tenant: Tenant) -> list[DeadLetter]:
    return world.ingestion.list_dead_letters(tenant.organization_id, PageRequest.of())[0]


def replay(world: World, tenant: Tenant) -> LetterResult:
    [result] = world.replay.replay(tenant.organization_id, (), actor="key_1")
    return result


def discard(world: World, tenant: Tenant) -> LetterResult:
    [result] = world.replay.discard(tenant.organization_id, (), actor="key_1")
    return result


def set_aside(world: World, tenant: Tenant, lease: Lease) -> None:
    """What intake does with an event of an edge that it cannot read."""
    funding = (Funding(lease.lease_id, lease.amount, 1),)
    unread = Unread(b"sent", EDGE.edge_id, lease.wallet_id, funding, EDGE.edge_epoch, 1)
    world.ingestion.set_aside(tenant.organization_id, "evt_1", TOO_MANY, unread=unread)


def overwrite(world: World, text: str) -> None:
    world.database.write(lambda: DeadLetter.update(envelope=text).execute())


def test_a_replay_says_why_nothing_can_be_settled_and_keeps_the_money_aside(
    world: World, tenant: Tenant
) -> None:
    set_aside(world, tenant, leased(world, tenant))
    world.worker().settle_once()

    result = replay(world, tenant)

    assert (result.state, result.reason) == (LetterState.FAILED, "LETTER_UNREADABLE")
    assert TOO_MANY.message in result.message
    assert TOO_MANY.reason in result.message
    # What made it a letter is still to be seen, however often somebody tries.
    assert replay(world, tenant).message == result.message
    [letter] = letters(world, tenant)
    assert (letter.reason, letter.message) == (TOO_MANY.reason, TOO_MANY.message)
    assert letter.attempt_count == 2
    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT, 0)


@pytest.mark.parametrize("counted", [False, True])
def test_a_discard_frees_what_it_kept_and_ends_its_lease_and_its_place_in_the_journal(
    world: World, tenant: Tenant, *, counted: bool
) -> None:
    set_aside(world, tenant, leased(world, tenant))
    if counted:
        world.worker().settle_once()

    assert discard(world, tenant).state is LetterState.DISCARDED

    assert letters(world, tenant) == []
    assert world.money(tenant) == (GRANTED, 0, 0)
    assert (the_lease(world, tenant).state, the_lease(world, tenant).settled_count) == (LeaseState.CLOSED, 1)
    settled = world.database.read(lambda: world.changes.settled([EDGE.edge_id]))
    [told] = settled[EDGE.edge_id][EDGE.edge_epoch]
    assert (told.first, told.last) == (1, 1)


def test_after_a_discard_the_same_event_is_paid_by_the_wallet_and_counted_once(
    world: World, tenant: Tenant
) -> None:
    """Somebody repairs the report and sends it under its own id: it has happened, so it is paid."""
    lease = leased(world, tenant)
    set_aside(world, tenant, lease)
    discard(world, tenant)
    event = outcome(world, tenant, lease)

    assert world.settler.settle([event]) == 1

    charge = world.settled(event).charge
    assert charge
    assert world.money(tenant) == (GRANTED - charge, 0, 0)
    assert the_lease(world, tenant).settled_count == 1


@pytest.mark.parametrize("text", ['{"version": 2, "events": []}', "{", "[]", '{"version": 1}'])
def test_what_only_a_newer_program_can_read_waits_for_it_with_its_money(
    world: World, tenant: Tenant, text: str
) -> None:
    set_aside(world, tenant, leased(world, tenant))
    overwrite(world, text)

    for result in (replay(world, tenant), discard(world, tenant)):
        assert (result.state, result.reason) == (LetterState.FAILED, "LETTER_UNREADABLE")
        assert "newer version" in result.message

    assert len(letters(world, tenant)) == 1
    assert world.money(tenant) == (GRANTED - CREDIT, CREDIT, 0)


def test_a_letter_with_several_events_settles_none_of_them(world: World, tenant: Tenant) -> None:
    kill(world, world.event(tenant))
    overwrite(world, envelope.pack([world.event(tenant), world.event(tenant, "e2")]))

    result = replay(world, tenant)

    assert (result.event_id, result.state, result.reason) == ("e1", LetterState.FAILED, "LETTER_UNREADABLE")
    assert world.money(tenant) == (GRANTED, 0, 0)
