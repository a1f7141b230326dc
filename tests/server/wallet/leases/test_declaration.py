import dataclasses

import pytest

from om_server.wallet.grant import Slice
from om_server.wallet.leases.declaration import Alarm, declare, freed, quarantined
from om_server.wallet.leases.lease import Lease, LeaseReport, LeaseState

OPEN = Lease(
    organization_id="org",
    lease_id="lse",
    wallet_id="wal",
    edge_id="edg",
    edge_epoch=1,
    admit_key="key",
    request_hash="hash",
    amount=100,
    remaining=100,
    max_intents=0,
    expire_time=60,
    create_time=0,
    slices=(Slice(0, "wal", "a", 100, 100),),
)
ONE = dataclasses.replace(OPEN, max_intents=1, final_count=1)
CLOSING = dataclasses.replace(OPEN, state=LeaseState.CLOSING, final_count=3, keep=40, remaining=40)


def report(final_count: int, keep: int) -> LeaseReport:
    return LeaseReport("lse", final_count, keep)


def after(lease: Lease, **changes: object) -> Lease:
    return dataclasses.replace(lease, **changes)  # type: ignore[arg-type] # A table's row.


def test_declaring_frees_what_no_event_keeps() -> None:
    declared = declare(OPEN, report(3, 40))
    assert declared.lease == after(OPEN, final_count=3, keep=40, state=LeaseState.CLOSING)
    assert (declared.release, declared.alarm) == (60, None)


def test_what_settled_events_left_of_their_part_stays_until_the_end() -> None:
    """One event kept 30 and cost 10: its 20 are freed by the last event, not by the declaration."""
    spent = after(OPEN, settled_count=1, remaining=90)
    assert declare(spent, report(2, 70)).release == 30


def test_declaring_what_has_settled_ends_the_lease() -> None:
    spent = after(OPEN, settled_count=2, remaining=70)
    declared = declare(spent, report(2, 40))
    assert declared.release == 70
    assert freed(declared.lease, ()).state is LeaseState.CLOSED


def test_a_lease_that_nobody_used_is_freed_whole() -> None:
    declared = declare(OPEN, report(0, 0))
    assert (declared.release, freed(declared.lease, ()).state) == (100, LeaseState.CLOSED)


def test_a_repeat_frees_nothing() -> None:
    again = declare(CLOSING, report(3, 40))
    assert (again.lease, again.release, again.alarm) == (CLOSING, 0, None)


def test_keep_only_falls() -> None:
    less = declare(CLOSING, report(3, 25))
    assert (less.lease.keep, less.release) == (25, 15)
    late = declare(after(CLOSING, keep=25, remaining=25), report(3, 40))
    assert (late.lease.keep, late.release, late.alarm) == (25, 0, None)


@pytest.mark.parametrize("final_count", [0, 2, 4])
def test_another_count_quarantines_and_frees_nothing(final_count: int) -> None:
    declared = declare(CLOSING, report(final_count, 0))
    assert declared.lease == after(CLOSING, state=LeaseState.QUARANTINED)
    assert (declared.release, declared.alarm) == (0, Alarm.CONTRADICTED)


def test_fewer_events_than_have_settled_quarantine() -> None:
    spent = after(OPEN, settled_count=2)
    declared = declare(spent, report(1, 0))
    assert (declared.lease.state, declared.lease.final_count) == (LeaseState.QUARANTINED, None)
    assert declared.alarm is Alarm.CONTRADICTED


def test_more_events_than_were_allowed_quarantine() -> None:
    few = after(OPEN, max_intents=2)
    assert declare(few, report(2, 0)).alarm is None
    assert declare(few, report(3, 0)).lease.state is LeaseState.QUARANTINED


def test_a_lease_for_one_intent_loses_its_count_if_none_was_written() -> None:
    declared = declare(ONE, report(0, 0))
    assert (declared.lease.final_count, declared.release) == (0, 100)
    kept = declare(ONE, report(1, 30))
    assert (kept.lease.state, kept.release) == (LeaseState.CLOSING, 70)
    assert declare(kept.lease, report(0, 0)).lease.state is LeaseState.QUARANTINED
    assert declare(ONE, report(2, 0)).lease.state is LeaseState.QUARANTINED


def test_an_edge_that_kept_more_than_it_had_raises_the_alarm() -> None:
    declared = declare(OPEN, report(1, 101))
    assert (declared.release, declared.alarm) == (0, Alarm.OVERSPENT)


@pytest.mark.parametrize("final_count", [2, 3])
def test_in_quarantine_nothing_that_is_reported_frees_anything(final_count: int) -> None:
    doubted = after(CLOSING, state=LeaseState.QUARANTINED)
    declared = declare(doubted, report(final_count, 0))
    assert (declared.lease, declared.release) == (doubted, 0)


def test_after_its_end_only_another_count_is_worth_an_alarm() -> None:
    closed = after(CLOSING, state=LeaseState.CLOSED, settled_count=3, remaining=0)
    assert declare(closed, report(3, 0)).alarm is None
    assert declare(closed, report(4, 0)).alarm is Alarm.CONTRADICTED
    resolved = after(CLOSING, state=LeaseState.RESOLVED, remaining=0)
    assert declare(resolved, report(9, 0)).alarm is None


def test_a_lease_never_ends_with_money_set_aside() -> None:
    with pytest.raises(ValueError, match="set aside"):
        freed(after(CLOSING, settled_count=3), OPEN.slices)


def test_a_count_that_was_declared_in_time_survives_an_unclean_start() -> None:
    assert quarantined(OPEN).state is LeaseState.QUARANTINED
    assert quarantined(CLOSING) == CLOSING
