import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.event import Funding
from om_server.wallet.charging import (
    LEASE_ENDED,
    LEASE_UNKNOWN,
    OVER_BOUND,
    SUSPENDED,
    WALLET_UNKNOWN,
    Charge,
    ChargeResult,
    Settlement,
    Stake,
)
from om_server.wallet.entry import Account, Cause
from om_server.wallet.holds.escrow import Escrow, EscrowKind
from om_server.wallet.leases.lease import EdgeIdentity, Lease, LeaseRequest, LeaseState, new_lease
from om_server.wallet.ledger import WalletBook
from om_server.wallet.replay import replay
from tests.server.wallet.scene import NOW, book_with, empty_book, grant

EDGE = EdgeIdentity("edg_1", 1, "instance")


def lease_of(book: WalletBook, lease_id: str, amount: int, *, max_intents: int = 0) -> Lease:
    request = LeaseRequest(
        book.opened.wallet_id,
        EDGE,
        admit_key=lease_id,
        request_hash="",
        min_nanos=amount,
        want_nanos=amount,
        max_intents=max_intents,
    )
    slices = book.reserve(amount, cause=Cause(hold_id=lease_id))
    return new_lease(request, organization_id="org", lease_id=lease_id, slices=slices, now=NOW)


def charge(amount: int, *funding: tuple[str, int], event_id: str = "evt", edge_id: str = "edg_1") -> Charge:
    parts = tuple(Funding(lease_id, retained, retained) for lease_id, retained in funding)
    return Charge("proxy", event_id, amount, wallet_id="wal", funding=parts, edge_id=edge_id)


def columns(book: WalletBook) -> tuple[int, int, int]:
    return book.wallet.available, book.wallet.held, book.wallet.receivable


def test_a_lease_for_one_event_pays_it_and_returns_its_rest_at_once() -> None:
    book = book_with(grant("a", 100))
    lease = lease_of(book, "lse", 60, max_intents=1)
    settlement = Settlement({"wal": book}, [lease])
    assert settlement.settle(charge(45, ("lse", 60))) == ChargeResult(captured=45, wallet_id="wal")
    assert columns(book) == (55, 0, 0)
    (after,) = settlement.changed
    assert (after.state, after.remaining, after.settled_count) == (LeaseState.CLOSED, 0, 1)
    captured = next(entry for entry in book.entries if entry.kind == "capture")
    assert (captured.hold_id, captured.event_source, captured.event_id) == ("lse", "proxy", "evt")


def test_an_open_lease_keeps_its_rest_until_its_count_is_declared() -> None:
    book = book_with(grant("a", 100))
    settlement = Settlement({"wal": book}, [lease_of(book, "lse", 60)])
    settlement.settle(charge(10, ("lse", 20), event_id="one"))
    settlement.settle(charge(5, ("lse", 20), event_id="two"))
    (after,) = settlement.changed
    assert (after.state, after.remaining, after.settled_count) == (LeaseState.OPEN, 45, 2)
    assert columns(book) == (40, 45, 0)


def test_a_closing_lease_returns_its_rest_with_its_last_event() -> None:
    book = book_with(grant("a", 100))
    lease = dataclasses.replace(lease_of(book, "lse", 60), final_count=2, state=LeaseState.CLOSING)
    settlement = Settlement({"wal": book}, [lease])
    settlement.settle(charge(10, ("lse", 20), event_id="one"))
    assert columns(book) == (40, 50, 0)
    settlement.settle(charge(0, ("lse", 20), event_id="two"))
    assert columns(book) == (90, 0, 0)


def test_an_event_is_counted_once_on_a_lease_that_it_names_twice() -> None:
    book = book_with(grant("a", 100))
    lease = dataclasses.replace(lease_of(book, "lse", 60), final_count=2, state=LeaseState.CLOSING)
    settlement = Settlement({"wal": book}, [lease])
    result = settlement.settle(charge(30, ("lse", 20), ("lse", 15)))
    assert (result.captured, result.flags) == (30, ())
    assert settlement.changed[0].settled_count == 1


def test_what_an_event_costs_above_its_retained_is_charged_directly_with_an_alarm() -> None:
    book = book_with(grant("a", 100))
    settlement = Settlement({"wal": book}, [lease_of(book, "lse", 60)])
    result = settlement.settle(charge(70, ("lse", 50)))
    assert result == ChargeResult(50, 20, 0, "wal", (OVER_BOUND,))
    assert columns(book) == (20, 10, 0)


def test_an_event_never_takes_more_from_a_lease_than_it_still_has() -> None:
    book = book_with(grant("a", 60))
    settlement = Settlement({"wal": book}, [lease_of(book, "lse", 60)])
    assert settlement.settle(charge(60, ("lse", 60), event_id="one")).captured == 60
    result = settlement.settle(charge(5, ("lse", 5), event_id="two"))
    assert result == ChargeResult(0, 0, 5, "wal", (OVER_BOUND,))
    assert columns(book) == (0, 0, 5)


def test_an_event_over_its_bound_uses_what_its_own_lease_frees_before_it_owes() -> None:
    book = book_with(grant("a", 60))
    settlement = Settlement({"wal": book}, [lease_of(book, "lse", 60, max_intents=1)])
    assert settlement.settle(charge(55, ("lse", 50))) == ChargeResult(50, 5, 0, "wal", (OVER_BOUND,))
    assert columns(book) == (5, 0, 0)


def test_an_event_may_be_paid_by_several_leases() -> None:
    book = book_with(grant("a", 100))
    leases = [lease_of(book, "one", 30), lease_of(book, "two", 30)]
    settlement = Settlement({"wal": book}, leases)
    result = settlement.settle(charge(45, ("one", 30), ("two", 20)))
    assert (result.captured, result.charged, result.flags) == (45, 0, ())
    assert [lease.remaining for lease in settlement.changed] == [0, 15]


@pytest.mark.parametrize("edge_id", ["edg_2", ""])
def test_another_edges_lease_is_not_touched(edge_id: str) -> None:
    book = book_with(grant("a", 100))
    settlement = Settlement({"wal": book}, [lease_of(book, "lse", 60)])
    result = settlement.settle(charge(50, ("lse", 50), edge_id=edge_id))
    assert result == ChargeResult(0, 40, 10, "wal", (LEASE_UNKNOWN,))
    assert settlement.changed == []
    assert columns(book) == (0, 60, 10)


def test_an_unknown_lease_is_charged_directly_and_only_its_own_part_is_excused() -> None:
    book = book_with(grant("a", 100))
    settlement = Settlement({"wal": book}, [lease_of(book, "lse", 60)])
    assert settlement.settle(charge(70, ("lse", 20), ("gone", 50))).flags == (LEASE_UNKNOWN,)
    assert settlement.settle(charge(71, ("lse", 20), ("gone", 50))).flags == (LEASE_UNKNOWN, OVER_BOUND)


def test_an_event_after_the_last_of_its_lease_is_counted_and_charged_directly() -> None:
    book = book_with(grant("a", 100))
    settlement = Settlement({"wal": book}, [lease_of(book, "lse", 60, max_intents=1)])
    settlement.settle(charge(10, ("lse", 60), event_id="one"))
    result = settlement.settle(charge(10, ("lse", 60), event_id="two"))
    assert result == ChargeResult(0, 10, 0, "wal", (LEASE_ENDED,))
    assert settlement.changed[0].settled_count == 2
    assert columns(book) == (80, 0, 0)


def test_usage_without_funding_is_charged_without_an_alarm() -> None:
    book = book_with(grant("a", 10))
    result = Settlement({"wal": book}, []).settle(charge(25))
    assert result == ChargeResult(0, 10, 15, "wal", ())


def test_nobody_pays_where_nobody_was_chosen() -> None:
    result = Settlement({}, []).settle(Charge("api", "evt", 25))
    assert result == ChargeResult()


def test_a_wallet_that_is_not_there_pays_nothing_and_is_flagged() -> None:
    result = Settlement({}, []).settle(charge(25))
    assert result == ChargeResult(wallet_id="wal", flags=(WALLET_UNKNOWN,))


def test_a_lease_says_who_pays_where_the_event_does_not() -> None:
    book = book_with(grant("a", 100))
    settlement = Settlement({"wal": book}, [lease_of(book, "lse", 60)])
    result = settlement.settle(dataclasses.replace(charge(70, ("lse", 60)), wallet_id=""))
    assert result == ChargeResult(60, 10, 0, "wal", (OVER_BOUND,))


def test_a_lease_without_money_only_counts() -> None:
    request = LeaseRequest("", EDGE, "key", request_hash="", min_nanos=0, want_nanos=0, max_intents=1)
    lease = new_lease(request, organization_id="org", lease_id="lse", slices=(), now=NOW)
    settlement = Settlement({}, [lease])
    settlement.settle(Charge("proxy", "evt", 0, funding=(Funding("lse", 0, 0),), edge_id="edg_1"))
    assert settlement.changed[0].state is LeaseState.CLOSED


@dataclasses.dataclass(frozen=True)
class Scene:
    """A wallet, leases in it, and events that edges keep honestly: no lease is promised twice."""

    funds: int
    credit_limit: int
    leases: tuple[int, ...]
    charges: tuple[Charge, ...]

    def settle(self, order: Sequence[int]) -> tuple[WalletBook, list[Lease], list[ChargeResult]]:
        book = empty_book(credit_limit=self.credit_limit)
        if self.funds:
            book = book_with(grant("a", self.funds), credit_limit=self.credit_limit)
        counts = [sum(part.lease_id == f"lse_{index}" for one in self.charges for part in one.funding)
                  for index in range(len(self.leases))]  # fmt: skip
        leases = [
            dataclasses.replace(
                lease_of(book, f"lse_{index}", amount),
                final_count=counts[index] or None,
                state=LeaseState.CLOSING,
            )
            for index, amount in enumerate(self.leases)
        ]
        settlement = Settlement({"wal": book}, leases)
        results = [settlement.settle(self.charges[index]) for index in order]
        return book, settlement.changed, results


@st.composite
def scenes(draw: st.DrawFn, *, credit: bool) -> Scene:
    leases = draw(st.lists(st.integers(0, 20), max_size=3))
    credit_limit = draw(st.integers(1, 20)) if credit else 0
    funds = sum(leases) + draw(st.integers(0, 20)) - (draw(st.integers(0, min(credit_limit, sum(leases)))))
    left, charges = list(leases), []
    for number in range(draw(st.integers(1, 5))):
        funding = []
        for index in draw(st.sets(st.integers(0, len(leases) - 1))) if leases else ():
            retained = draw(st.integers(0, left[index]))
            left[index] -= retained
            funding.append((f"lse_{index}", retained))
        charges.append(charge(draw(st.integers(0, 30)), *funding, event_id=f"evt_{number}"))
    return Scene(funds, credit_limit, tuple(leases), tuple(charges))


@given(scene=scenes(credit=False), data=st.data())
def test_the_order_of_events_changes_no_column(scene: Scene, data: st.DataObject) -> None:
    forward = range(len(scene.charges))
    book, _, _ = scene.settle(forward)
    other, _, _ = scene.settle(data.draw(st.permutations(forward)))
    assert columns(other) == columns(book)


@given(scene=scenes(credit=True), data=st.data())
def test_with_credit_the_order_of_events_changes_no_debt_in_sum(scene: Scene, data: st.DataObject) -> None:
    """Freed money pays an overdraft and not the receivable, so only the two together are the same."""
    forward = range(len(scene.charges))
    book, _, _ = scene.settle(forward)
    other, _, _ = scene.settle(data.draw(st.permutations(forward)))
    assert other.wallet.held == book.wallet.held
    assert other.wallet.available - other.wallet.receivable == book.wallet.available - book.wallet.receivable


@given(scene=st.booleans().flatmap(lambda credit: scenes(credit=credit)))
def test_results_are_what_the_entries_say(scene: Scene) -> None:
    book, leases, results = scene.settle(range(len(scene.charges)))
    moved = dict.fromkeys(Account, 0)
    by_kind: dict[str, int] = {}
    for entry in book.entries:
        moved[entry.debit_account] -= entry.amount
        moved[entry.credit_account] += entry.amount
        by_kind[entry.kind] = by_kind.get(entry.kind, 0) + entry.amount
    assert by_kind.get("capture", 0) == sum(result.captured for result in results)
    assert by_kind.get("charge", 0) == sum(result.charged for result in results)
    assert by_kind.get("receivable", 0) == sum(result.receivable for result in results)
    assert moved[Account.REVENUE] == sum(one.amount for one in scene.charges)
    for result, one in zip(results, scene.charges, strict=True):
        assert result.captured + result.charged + result.receivable == one.amount
        assert result.captured <= sum(part.retained for part in one.funding)
    for lease in leases:
        complete = lease.settled_count == lease.final_count
        assert lease.state is (LeaseState.CLOSED if complete else LeaseState.CLOSING)
    untouched = [amount for index, amount in enumerate(scene.leases)
                 if f"lse_{index}" not in {lease.lease_id for lease in leases}]  # fmt: skip
    assert book.wallet.held == sum(lease.remaining for lease in leases) + sum(untouched)
    replayed = replay(book.entries)
    assert (replayed.available, replayed.held, replayed.receivable) == columns(book)


def test_an_event_without_money_that_nobody_can_rate_yet_is_counted_once() -> None:
    book = book_with(grant("a", 100))
    lease = dataclasses.replace(lease_of(book, "lse", 60), final_count=2, state=LeaseState.CLOSING)
    settlement = Settlement({"wal": book}, [lease])
    unrated = dataclasses.replace(charge(0, ("lse", 0)), keep=EscrowKind.UNRATED)
    settlement.settle(unrated)
    settlement.settle(unrated)
    result = settlement.settle(charge(7, ("lse", 0)))
    assert (result.captured, result.charged, result.flags) == (0, 7, (OVER_BOUND,))
    assert settlement.changed[0].settled_count == 1
    assert columns(book) == (33, 60, 0)


def test_an_unrated_event_keeps_nothing_of_a_lease_that_is_not_its_edges_and_is_remembered() -> None:
    book = book_with(grant("a", 100))
    settlement = Settlement({"wal": book}, [lease_of(book, "lse", 60)])
    unrated = dataclasses.replace(charge(0, ("lse", 50), edge_id="edg_2"), keep=EscrowKind.UNRATED)
    assert settlement.settle(unrated) == ChargeResult(wallet_id="wal", flags=(LEASE_UNKNOWN,))
    assert settlement.changed == []
    assert [escrow.amount for escrow in settlement.new_escrows] == [0]
    assert columns(book) == (40, 60, 0)


def test_an_unrated_event_that_nothing_funds_sets_nothing_aside() -> None:
    book = book_with(grant("a", 100))
    settlement = Settlement({"wal": book}, [])
    unrated = dataclasses.replace(charge(0), keep=EscrowKind.UNRATED)
    assert settlement.settle(unrated) == ChargeResult(wallet_id="wal")
    assert settlement.new_escrows == []
    assert settlement.settle(charge(7)).charged == 7


@pytest.mark.parametrize(("costs", "captured", "charged"), [(20, 12, 8), (12, 12, 0), (5, 5, 0)])
def test_what_an_owner_charged_for_an_event_is_paid_and_only_the_rest_is_charged(
    costs: int, captured: int, charged: int
) -> None:
    book = book_with(grant("a", 100))
    decided = Escrow(
        "hld",
        "wal",
        EscrowKind.UNKNOWN,
        suspended=True,
        pending=False,
        lease_id="",
        event_source="proxy",
        event_id="evt",
        amount=30,
        create_time=NOW,
        decided=12,
    )
    settlement = Settlement({"wal": book}, [], Stake({("proxy", "evt"): decided}, {}))
    assert settlement.settle(charge(costs, ("lse", 30))) == ChargeResult(captured, charged, 0, "wal", ())
    assert (settlement.changed, settlement.changed_escrows) == ([], [])
    assert columns(book) == (100 - charged, 0, 0)


def test_an_unknown_outcome_that_kept_nothing_puts_nothing_in_suspense() -> None:
    book = book_with(grant("a", 100))
    settlement = Settlement({"wal": book}, [lease_of(book, "lse", 60)])
    unknown = dataclasses.replace(charge(0, ("lse", 0)), keep=EscrowKind.UNKNOWN, suspended=True)
    assert settlement.settle(unknown) == ChargeResult(wallet_id="wal")
    assert [(escrow.suspended, escrow.amount) for escrow in settlement.new_escrows] == [(False, 0)]
    kept = dataclasses.replace(unknown, event_id="two", funding=charge(0, ("lse", 20)).funding)
    assert settlement.settle(kept).flags == (SUSPENDED,)
    assert [(escrow.suspended, escrow.amount) for escrow in settlement.new_escrows] == [
        (False, 0),
        (True, 20),
    ]
    assert columns(book) == (40, 40, 0)
