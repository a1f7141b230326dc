import dataclasses

import pytest

from om_server.wallet.grant import Slice
from om_server.wallet.leases.lease import (
    LEASE_LIFE,
    EdgeIdentity,
    Lease,
    LeaseRequest,
    LeaseState,
    lease_amount,
    new_lease,
    settled,
)

REQUEST = LeaseRequest("wal", EdgeIdentity("edg", 2, "instance"), "key", "hash", 10, 100, 0)
SLICES = (Slice(0, "wal", "a", 30, 30), Slice(1, "wal", "b", 20, 20))
SPENT = (SLICES[0].holding(0), SLICES[1].holding(0))


def lease(**changes: int) -> Lease:
    request = dataclasses.replace(REQUEST, **changes)  # type: ignore[arg-type] # A test changes numbers.
    return new_lease(request, organization_id="org", lease_id="lse", slices=SLICES, now=7)


@pytest.mark.parametrize(
    ("minimum", "want", "spendable", "amount"),
    [
        (10, 100, 1_000, 100),
        (10, 100, 400, 80),
        (10, 100, 20, 10),
        (10, 100, 5, 10),
        (100, 100, 100, 100),
        (50, 20, 1_000, 50),
        (0, 100, 4, 1),
        (0, 100, 0, 1),
        (0, 0, 1_000, 0),
        (30, 0, 1_000, 30),
    ],
)
def test_a_lease_is_what_is_wanted_within_a_fair_share_and_above_the_minimum(
    minimum: int, want: int, spendable: int, amount: int
) -> None:
    request = dataclasses.replace(REQUEST, min_nanos=minimum, want_nanos=want)
    assert lease_amount(request, spendable=spendable) == amount


def test_a_new_lease_has_what_its_slices_have() -> None:
    taken = lease()
    assert (taken.amount, taken.remaining, taken.edge_id, taken.edge_epoch) == (50, 50, "edg", 2)
    assert (taken.create_time, taken.expire_time) == (7, 7 + LEASE_LIFE)


@pytest.mark.parametrize(("max_intents", "final_count"), [(0, None), (1, 1), (2, None)])
def test_only_a_lease_for_one_intent_knows_its_count(max_intents: int, final_count: int | None) -> None:
    assert lease(max_intents=max_intents).final_count == final_count


def test_settling_counts_and_keeps_what_the_slices_keep() -> None:
    left = (SLICES[0].holding(5), SLICES[1])
    after = settled(lease(), left)
    assert (after.settled_count, after.remaining, after.state) == (1, 25, LeaseState.OPEN)
    assert after.slices == left


@pytest.mark.parametrize("state", [LeaseState.OPEN, LeaseState.CLOSING, LeaseState.QUARANTINED])
def test_an_open_a_closing_and_a_quarantined_lease_end_with_their_last_event(state: LeaseState) -> None:
    known = dataclasses.replace(lease(), final_count=2, state=state)
    assert not known.ends_next
    after = settled(known, SLICES)
    assert (after.state, after.ends_next) == (state, True)
    assert settled(after, SPENT).state is LeaseState.CLOSED


def test_a_lease_never_ends_with_money_set_aside() -> None:
    with pytest.raises(ValueError, match="set aside"):
        settled(lease(max_intents=1), SLICES)


def test_an_owners_decision_stays() -> None:
    resolved = dataclasses.replace(lease(max_intents=1), state=LeaseState.RESOLVED, remaining=0, slices=())
    assert settled(resolved, ()).state is LeaseState.RESOLVED
