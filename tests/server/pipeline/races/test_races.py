"""Interleavings that lose or make money where a rule of the edge contract is missing, each played out.

All of them run over real sockets on both databases; time stands still until a test moves it.
"""

import itertools

import pytest

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.rating.v1 import rating_service_pb2 as rating_pb
from om.type.v1 import error_reason_pb2, event_pb2
from om.wallet.v1 import entitlement_service_pb2 as entitlement_pb
from om_server.analytics.settled import SettledState
from om_server.core.page import PageRequest
from om_server.rating.onset import CARD_LIFE, RAISE_LEAD
from om_server.rpc.convert import timestamp_to_proto
from om_server.wallet.holds.suspense import Decision
from om_server.wallet.leases.lease import LeaseState
from tests.rpc import failing
from tests.server.pipeline.harness import CREDIT, SECOND, SetClock
from tests.server.pipeline.races.scene import Office, Server, line, report

GRANTED = 100 * CREDIT
USED = CREDIT // 2
UNKNOWN_MODEL = "a-model-nobody-knows"
ADA = event_pb2.Attribution(user_id="ada")
OWNER = Decision("mem_1", "the disk is gone")


@pytest.fixture(name="office")
def make_office(server: Server) -> Office:
    return server.office(granted=GRANTED)


def reason(answer: edge_pb.AdmitResponse) -> str:
    name: str = error_reason_pb2.ErrorReason.Name(answer.refusal.reason)
    return name.removeprefix("ERROR_REASON_")


@pytest.mark.parametrize("order", list(itertools.permutations(["close", "resync", "settle"])), ids="-".join)
def test_a_close_and_a_resync_against_a_queued_settle_end_the_lease_once_in_any_order(
    server: Server, office: Office, order: tuple[str, ...]
) -> None:
    edge = server.edge(office)
    answer = edge.admit("evt_1", max_intents=0, want_nanos=4 * CREDIT, min_nanos=4 * CREDIT)
    lease_id = answer.lease.lease_id
    edge.ship(edge.outcome("evt_1", answer, bound=CREDIT))
    declared = report(lease_id, 1, CREDIT)
    current = edge

    for act in order:
        if act == "close":
            current.close(lease_id, 1, CREDIT)
        elif act == "resync":
            current = edge.successor()
            current.resync(declared)
        else:
            server.settle()
        available, held, owed = server.money(office)
        assert owed == 0
        assert available + held in (GRANTED, GRANTED - USED)
        # What the event may still cost is never free before it is settled.
        if act != "settle" and order.index("settle") > order.index(act):
            assert held == CREDIT

    assert server.money(office) == (GRANTED - USED, 0, 0)
    lease = server.leases(office)[lease_id]
    assert (lease.state, lease.settled_count) == (LeaseState.CLOSED, 1)


def test_an_admit_that_arrives_after_the_next_epochs_resync_takes_nothing(
    server: Server, office: Office
) -> None:
    """Its process is dead: nobody would ever close what it got."""
    edge = server.edge(office)
    late = edge.question("evt_late")
    successor = edge.successor()
    successor.resync()

    with failing() as failures:
        edge.admit(late.idempotency_key)

    assert failures[0].reason == "EDGE_EPOCH_STALE"
    assert server.money(office) == (GRANTED, 0, 0)
    assert server.leases(office) == {}


def test_an_admit_whose_answer_was_lost_is_freed_by_the_resync_and_never_answered_again(
    server: Server, office: Office
) -> None:
    edge = server.edge(office)
    lost = edge.admit("evt_1").lease.lease_id
    successor = edge.successor()

    successor.resync()

    assert server.money(office) == (GRANTED, 0, 0)
    assert server.leases(office)[lost].state is LeaseState.CLOSED
    with failing() as failures:
        edge.admit("evt_1")
    assert failures[0].reason == "EDGE_EPOCH_STALE"
    # The next process may not spend a lease of the one before by asking under its key.
    with failing() as failures:
        successor.admit("evt_1")
    assert failures[0].reason == "IDEMPOTENCY_KEY_REUSED"


def test_a_resync_whose_answer_was_lost_is_asked_again_with_outcomes_settled_in_between(
    server: Server, office: Office
) -> None:
    edge = server.edge(office)
    answer = edge.admit("evt_1")
    unknown = edge.admit("evt_2").lease.lease_id
    edge.ship(edge.outcome("evt_1", answer))
    declared = report(answer.lease.lease_id, 1, CREDIT)
    successor = edge.successor()
    first = successor.resync(declared)

    server.settle()
    again = successor.resync(declared)

    assert [lease.lease_id for lease in first.open_leases] == [answer.lease.lease_id]
    assert list(again.open_leases) == []
    assert server.leases(office)[unknown].state is LeaseState.CLOSED
    assert server.money(office) == (GRANTED - USED, 0, 0)
    assert successor.admit("evt_3").allowed


def test_an_empty_journal_directory_is_another_edge_and_the_old_ones_money_waits_for_an_owner(
    server: Server, office: Office, clock: SetClock
) -> None:
    lost = server.edge(office)
    answer = lost.admit("evt_1")
    fresh = server.edge(office, 1)

    with failing() as failures:
        fresh.close(answer.lease.lease_id, 0, 0)

    assert failures[0].reason == "NOT_FOUND"
    clock.advance(23 * 3600)
    server.settle()
    assert server.money(office) == (GRANTED - CREDIT, CREDIT, 0)
    clock.advance(2 * 3600)
    wallet = server.platform.wallet
    wallet.resolve_lease(office.organization_id, answer.lease.lease_id, decision=OWNER)
    [suspense] = wallet.list_suspense(office.organization_id, page=PageRequest.of()).suspense
    assert suspense.remaining == CREDIT
    assert server.money(office) == (GRANTED - CREDIT, 0, 0)
    # The old disk is found again: its outcome is paid from what was set aside for it.
    lost.ship(lost.outcome("evt_1", answer))
    server.settle()
    assert server.money(office) == (GRANTED - CREDIT, 0, 0)
    assert server.event(office, "evt_1").flags == ("lease_resolved",)
    [suspense] = wallet.list_suspense(office.organization_id, page=PageRequest.of()).suspense
    assert suspense.remaining == CREDIT - USED


@pytest.mark.parametrize(
    ("sent_s", "charge", "flags"),
    [(0, CREDIT, ()), (60, CREDIT, ()), (119, CREDIT, ()), (120, 10 * CREDIT, ("over_bound",))],
)
def test_a_call_admitted_under_the_old_card_is_never_charged_above_what_it_kept(
    server: Server, office: Office, clock: SetClock, *, sent_s: int, charge: int, flags: tuple[str, ...]
) -> None:
    """A raise is moved to two lives of a card, so a call sent while a card lives is never above it.

    The last row is no call of a living card: it shows what the delay is for.
    """
    edge = server.edge(office)
    answer = edge.admit("evt_1")
    read = clock.now
    rate = rating_pb.PriceRate(unit="input_tokens", amount_per_million="25")
    price = rating_pb.Price(provider="openai", model="gpt-4o", rates=[rate])
    price.effective_time.CopyFrom(timestamp_to_proto(clock.now))

    created = server.rating.CreatePrice(
        rating_pb.CreatePriceRequest(price=price, idempotency_key="raise"), metadata=office.metadata
    ).price

    assert created.effective_time.ToMicroseconds() == read + RAISE_LEAD == read + 2 * CARD_LIFE
    outcome = edge.outcome("evt_1", answer, lines=[line(400)])
    outcome.occur_time.CopyFrom(timestamp_to_proto(read + sent_s * SECOND))
    clock.advance(300)
    edge.ship(outcome)
    server.settle()
    event = server.event(office, "evt_1")
    assert (event.charge, event.flags) == (charge, flags)
    assert server.money(office) == (GRANTED - charge, 0, 0)


def test_a_wallet_that_is_created_in_mid_flight_pays_from_the_next_call_on(
    server: Server, office: Office
) -> None:
    edge = server.edge(office)
    answer = edge.admit("evt_1", attribution=ADA)
    ada = server.grant(office, 10 * CREDIT, user_id="ada")

    outcome = edge.outcome("evt_1", answer)
    outcome.attribution.CopyFrom(ADA)
    edge.ship(outcome)
    server.settle()

    assert server.event(office, "evt_1").wallet_id == answer.wallet_id != ada.wallet_id
    assert server.money(office) == (GRANTED - USED, 0, 0)
    following = edge.admit("evt_2", attribution=ADA)
    assert following.wallet_id == ada.wallet_id
    assert following.resolution_version > answer.resolution_version


def test_a_call_that_nobody_paid_for_stays_so_though_a_wallet_is_created_before_it_settles(
    server: Server,
) -> None:
    office = server.office()
    edge = server.edge(office)
    answer = edge.admit("evt_1")
    assert (answer.funding_mode, answer.wallet_id) == (edge_pb.FUNDING_MODE_NO_WALLET, "")
    server.grant(office, GRANTED)

    edge.ship(edge.outcome("evt_1", answer))
    server.settle()

    assert server.event(office, "evt_1").wallet_id == ""
    assert server.money(office) == (GRANTED, 0, 0)


def test_a_hard_limit_set_in_mid_flight_holds_after_one_life_of_a_card_and_is_spent_exactly(
    server: Server, office: Office, clock: SetClock
) -> None:
    """A lease taken before the limit is spent; what it used counts, and exactly the rest is admitted."""
    edge = server.edge(office)
    before = edge.admit("evt_1", max_intents=0, want_nanos=4 * CREDIT, min_nanos=4 * CREDIT)
    limit = entitlement_pb.Entitlement(
        type=entitlement_pb.LIMIT_TYPE_HARD,
        unit="credits",
        limit_value=3 * CREDIT,
        window=entitlement_pb.LIMIT_WINDOW_TOTAL,
    )
    created = server.entitlements.CreateEntitlement(
        entitlement_pb.CreateEntitlementRequest(entitlement=limit, idempotency_key="limit"),
        metadata=office.metadata,
    ).entitlement
    assert created.effective_time.ToMicroseconds() == clock.now + CARD_LIFE
    clock.advance(59)
    edge.ship(edge.outcome("evt_1", before, lines=[line(400)], bound=CREDIT))
    server.settle()
    edge.close(before.lease.lease_id, 1, CREDIT)
    clock.advance(1)

    answers = [edge.admit(f"later_{number}") for number in range(3)]

    assert [answer.allowed for answer in answers] == [True, True, False]
    assert (reason(answers[2]), answers[2].refusal.limit_id) == ("LIMIT_REACHED", created.entitlement_id)
    # What a call left of its reservation is admitted again, to the last nano and no further.
    edge.ship(edge.outcome("later_0", answers[0]))
    server.settle()
    assert not edge.admit("whole").allowed
    rest = edge.admit("rest", bound_nanos=USED, min_nanos=USED, want_nanos=USED)
    assert rest.allowed
    assert not edge.admit("one nano", bound_nanos=1, min_nanos=1, want_nanos=1).allowed


def test_a_dead_letter_replayed_after_its_lease_closed_is_paid_from_what_was_held(
    server: Server, office: Office
) -> None:
    edge = server.edge(office)
    answer = edge.admit("evt_1", max_intents=0, want_nanos=4 * CREDIT, min_nanos=4 * CREDIT)
    unreadable = edge.outcome("evt_1", answer, bound=CREDIT)
    unreadable.lines[0].usage.quantities[0].unit = "no-such-unit"
    good = edge.outcome("evt_2", answer, bound=CREDIT)
    edge.ship(unreadable, good)
    edge.close(answer.lease.lease_id, 2, 2 * CREDIT)
    server.settle()
    assert server.leases(office)[answer.lease.lease_id].state is LeaseState.CLOSED
    assert server.money(office) == (GRANTED - USED - CREDIT, CREDIT, 0)

    # The same report, repaired: the lease is over, and its bound still waits for it.
    unreadable.lines[0].usage.quantities[0].unit = "input_tokens"
    edge.ship(unreadable)
    server.settle()

    assert server.money(office) == (GRANTED - 2 * USED, 0, 0)
    assert server.event(office, "evt_1").flags == ()
    assert server.leases(office)[answer.lease.lease_id].settled_count == 2


@pytest.mark.parametrize(
    ("available", "expected"), [(100 * CREDIT, (99 * CREDIT, 0, 0)), (CREDIT // 4, (0, 0, CREDIT * 3 // 4))]
)
def test_a_restored_store_charges_what_it_does_not_know_directly_and_what_is_missing_is_owed(
    server: Server, available: int, expected: tuple[int, int, int]
) -> None:
    office = server.office(granted=available)
    edge = server.edge(office)
    lease_id = "lse_" + "7" * 26
    of_another_life = edge_pb.AdmitResponse(
        wallet_id=server.platform.wallet.get_wallet(office.organization_id).wallet_id,
        lease=edge_pb.Lease(lease_id=lease_id, amount_nanos=CREDIT),
    )
    successor = edge.successor()
    resynced = successor.resync(report(lease_id, 1, CREDIT))

    edge.ship(edge.outcome("evt_1", of_another_life, lines=[line(400)]))
    server.settle()

    assert list(resynced.unknown_lease_ids) == [lease_id]
    assert server.money(office) == expected
    assert server.event(office, "evt_1").flags == ("lease_unknown",)
    assert server.event(office, "evt_1").receivable == expected[2]


def test_an_outcome_of_a_resolved_lease_takes_its_suspense_then_the_wallet_then_owes(server: Server) -> None:
    office = server.office(granted=CREDIT + CREDIT // 4)
    edge = server.edge(office)
    answer = edge.admit("evt_1")
    edge.successor().resync(clean=False)
    wallet = server.platform.wallet
    wallet.resolve_lease(office.organization_id, answer.lease.lease_id, decision=OWNER)
    assert server.money(office) == (CREDIT // 4, 0, 0)

    edge.ship(edge.outcome("evt_1", answer, lines=[line(600)]))
    server.settle()

    assert server.money(office) == (0, 0, CREDIT // 4)
    assert "lease_resolved" in server.event(office, "evt_1").flags
    assert wallet.list_suspense(office.organization_id, page=PageRequest.of()).suspense == ()


def test_a_fallback_model_that_is_not_on_the_card_keeps_the_whole_bound_until_it_is_rated(
    server: Server, office: Office, clock: SetClock
) -> None:
    edge = server.edge(office)
    answer = edge.admit("evt_1")
    outcome = edge.outcome("evt_1", answer, lines=[line(100), line(100, model=UNKNOWN_MODEL)])
    edge.ship(outcome)
    server.settle()
    assert server.event(office, "evt_1").state is SettledState.UNRATED
    assert server.event(office, "evt_1").charge is None
    assert server.money(office) == (GRANTED - CREDIT, CREDIT, 0)
    assert server.leases(office)[answer.lease.lease_id].state is LeaseState.CLOSED

    rate = rating_pb.PriceRate(unit="input_tokens", amount_per_million="5")
    price = rating_pb.Price(provider="openai", model=UNKNOWN_MODEL, rates=[rate])
    server.rating.CreatePrice(
        rating_pb.CreatePriceRequest(price=price, idempotency_key="first"), metadata=office.metadata
    )
    clock.advance(2)
    server.settle()

    # 100 tokens at 2.50 dollars a million and 100 at 5, a thousand credits a dollar.
    assert server.event(office, "evt_1").charge == 750_000_000
    assert server.money(office) == (GRANTED - 750_000_000, 0, 0)
