"""A wallet and its reference, always given the same orders and compared after each."""

import dataclasses
from itertools import groupby

import pytest

from om_server.core.money import AmountOutOfRange
from om_server.wallet.chain import chained
from om_server.wallet.correction import (
    REFUND_GRACE,
    adjust_down,
    give_back,
    payments_left,
    refunds,
    transfer,
)
from om_server.wallet.entry import ADJUSTMENT_UP, GRANT, Account, Cause, Entry, EntryKind
from om_server.wallet.grant import PRIORITY_DEFAULT, Grant, Slice
from om_server.wallet.holds.hold import Hold, HoldConflict, HoldState
from om_server.wallet.ledger import InsufficientFunds, Paid
from om_server.wallet.replay import Replay
from om_server.wallet.wallet import WalletMode
from tests.server.wallet.reference import DEBT, Purse, ReferenceWallet
from tests.server.wallet.scene import NONE, NOW, History, empty_book, grant


class Twins:
    """Amounts are small, because the reference moves them one by one."""

    def __init__(self, *, soft: bool = False, limit: int = 0, name: str = "wal") -> None:
        self.history = History(empty_book(wallet_id=name))
        self.expected = ReferenceWallet(now=NOW)
        self.leases: list[tuple[Slice, ...]] = []
        #: With the purse of each of its units.
        self.holds: list[tuple[Hold, list[str]]] = []
        #: The purse that paid each unit of an event and was not given it back; the number is its id.
        self.events: list[list[str]] = []
        self.known: dict[str, Grant] = {}
        self.proof = Replay()
        self.reopen(passed=0, soft=soft, limit=limit)

    def fund(self, amount: int, *, priority: int, life: int | None, number: int) -> None:
        now = self.expected.now
        expire_time = None if life is None else now + life
        # The number comes first, so that ids do not grow with time and the order cannot rest on them.
        name = f"grt_{number}_{len(self.expected.purses)}"
        one = grant(name, amount, priority=priority, expire_time=expire_time, create_time=now)
        self.history.book.fund(one, GRANT, cause=NONE)
        self.expected.fund(Purse(name, priority, expire_time, now), amount)

    def reserve(self, amount: int) -> None:
        self.expected.expire()
        if amount > self.expected.spendable:
            with pytest.raises(InsufficientFunds) as refusal:
                self.history.book.reserve(amount, cause=NONE)
            assert refusal.value.available == self.expected.spendable
            return
        slices = self.history.book.reserve(amount, cause=NONE)
        taken = self.expected.reserve(amount)
        assert {_name(piece): piece.amount for piece in slices} == taken
        self.leases.append(slices)

    def capture(self, which: int, part: int) -> None:
        index, amount = self._pick(which, part)
        units = [_name(piece) for piece in self.leases[index] for _ in range(piece.held)]
        cause = self._event(units[:amount])
        self.leases[index] = self.history.book.capture(self.leases[index], amount, cause=cause)
        self.expected.capture(units[:amount])

    def release(self, which: int, part: int) -> None:
        index, amount = self._pick(which, part)
        units = [_name(piece) for piece in self.leases[index] for _ in range(piece.held)]
        self.leases[index] = self.history.book.release(self.leases[index], amount, cause=NONE)
        self.expected.release(units[len(units) - amount :][::-1])

    def charge(self, amount: int) -> None:
        payers = self.expected.charge(amount)
        cause = self._event(payers)
        owed = payers.count(DEBT)
        assert self.history.book.charge(amount, cause=cause) == Paid(amount - owed, owed)

    def deduct(self, amount: int) -> None:
        self.expected.expire()
        if amount > self.expected.spendable:
            with pytest.raises(InsufficientFunds):
                self.history.book.deduct(amount, cause=NONE)
            return
        self.history.book.deduct(amount, cause=NONE)
        self.expected.charge(amount)

    def reopen(self, *, passed: int, soft: bool, limit: int) -> None:
        """Save, and lock again later, with other settings that the overdraft allows."""
        self.expected.now += passed
        self.expected.soft = soft
        self.expected.limit = max(limit, -self.expected.line.available)
        mode = WalletMode.SOFT if soft else WalletMode.STRICT
        wallet = dataclasses.replace(self.history.book.wallet, mode=mode, credit_limit=self.expected.limit)
        self.known.update((one.grant_id, one) for one in self.history.book.grants)
        self.history.reopen(now=self.expected.now, wallet=wallet)
        for number, (hold, units) in enumerate(self.holds):
            if hold.state is HoldState.PENDING and hold.expire_time <= self.expected.now:
                self.history.book.lapse(hold)
                self.expected.release(units[::-1])
                self.holds[number] = (self.history.book.lapsed[-1], units)

    def adjust(self, amount: int) -> None:
        book = self.history.book
        if amount > 0:
            one = grant(f"grt_0_{len(self.expected.purses)}", amount, create_time=self.expected.now)
            book.fund(one, ADJUSTMENT_UP, cause=NONE)
            self.expected.fund(Purse(one.grant_id, 100, None, self.expected.now), amount)
            return
        self.expected.expire()
        if -amount > self.expected.spendable:
            with pytest.raises(InsufficientFunds):
                adjust_down(book, -amount, cause=NONE)
            return
        adjust_down(book, -amount, cause=NONE)
        self.expected.adjust_down(-amount)

    def refund(self, which: int, part: int) -> None:
        """Give back a part of one of the newest events: nothing, quarters, or all that is left."""
        if not self.events:
            return
        index = max(0, len(self.events) - 1 - which)
        units = self.events[index]
        amount = (len(units) * part + 3) // 4
        own = [entry for entry in self.history.entries if entry.event_id == f"evt_{index}"]
        left = payments_left(own)
        assert sum(payment.amount for payment in left) == len(units)
        if not amount:
            with pytest.raises(AmountOutOfRange):
                refunds(left, amount)
            return
        cause, book = Cause(event_source="api", event_id=f"evt_{index}"), self.history.book
        known = self.known | {one.grant_id: one for one in book.grants}
        entries = give_back(book, refunds(left, amount), grants=known, cause=cause)
        returned = [entry for entry in entries if entry.kind is EntryKind.REFUND]
        back = units[len(units) - amount :][::-1]
        del units[len(units) - amount :]
        paid = [(name, len(list(run))) for name, run in groupby(back)]
        assert sum(entry.amount for entry in returned) == sum(count for _, count in paid)
        self.expected.expire()
        for entry in returned:
            self._returned(entry, back)

    def hold(self, amount: int, life: int) -> None:
        self.expected.expire()
        if amount > self.expected.spendable:
            with pytest.raises(InsufficientFunds):
                self.history.book.reserve(amount, cause=NONE)
            return
        hold_id, now = f"hld_{len(self.holds)}", self.expected.now
        slices = self.history.book.reserve(amount, cause=Cause(hold_id=hold_id))
        self.expected.reserve(amount)
        units = [_name(piece) for piece in slices for _ in range(piece.amount)]
        self.holds.append((Hold(hold_id, "wal", amount, now + life, now, slices=slices), units))

    def capture_hold(self, which: int, part: int) -> None:
        if not self.holds:
            return
        index = max(0, len(self.holds) - 1 - which)
        hold, units = self.holds[index]
        amount = (hold.amount * part + 3) // 4
        if hold.state in (HoldState.RELEASED, HoldState.CAPTURED) and hold.captured != amount:
            with pytest.raises(HoldConflict):
                hold.captures_anew(amount)
        if hold.state not in (HoldState.PENDING, HoldState.EXPIRED):
            return
        assert hold.captures_anew(amount)
        slices, book, cause = hold.slices, self.history.book, Cause(hold_id=hold.hold_id)
        if hold.state is HoldState.EXPIRED:
            if not amount:
                return
            book.owe(amount, cause=cause)
            self.expected.owe(amount)
        else:
            slices = book.capture(slices, amount, cause=cause)
            slices = book.release(slices, len(units) - amount, cause=cause)
            self.expected.capture(units[:amount])
            self.expected.release(units[amount:][::-1])
        self.holds[index] = (hold.resolved(HoldState.CAPTURED, slices, captured=amount), units)

    def release_hold(self, which: int) -> None:
        if not self.holds:
            return
        index = max(0, len(self.holds) - 1 - which)
        hold, units = self.holds[index]
        if hold.state is HoldState.CAPTURED:
            with pytest.raises(HoldConflict):
                hold.releases_anew()
        elif hold.releases_anew():
            cause = Cause(hold_id=hold.hold_id)
            slices = self.history.book.release(hold.slices, hold.held, cause=cause)
            self.expected.release(units[::-1])
            self.holds[index] = (hold.resolved(HoldState.RELEASED, slices), units)

    def transfer(self, target: "Twins", amount: int) -> None:
        """Give to another wallet of the same moment."""
        source, now = self.history.book, self.expected.now
        self.expected.expire()
        owned = sum(purse.available for purse in self.expected.purses.values())
        if amount > owned:
            with pytest.raises(InsufficientFunds) as refusal:
                transfer(source, target.history.book, amount, cause=NONE)
            assert refusal.value.available == owned
            return
        given, taken = transfer(source, target.history.book, amount, cause=NONE)
        runs = [(name, len(list(run))) for name, run in groupby(self.expected.give_away(amount))]
        assert [(entry.grant_id, entry.amount) for entry in given] == runs
        target.expected.expire()
        for (name, count), entry in zip(runs, taken, strict=False):
            purse = self.expected.purses[name]
            target.expected.take_in(Purse(entry.grant_id, purse.priority, purse.expire_time, now), count)
        target.expected.pay_debts()

    def check(self) -> None:
        self._columns_equal_the_reference()
        self._replay_gives_the_columns()
        self._the_equations_hold()
        self._every_account_adds_up()

    def _lapsed(self) -> int:
        """What has expired and is not posted yet."""
        return sum(one.available for one in self.history.book.grants if one.expired(self.expected.now))

    def _columns_equal_the_reference(self) -> None:
        book = self.history.book
        self.expected.expire()
        assert book.wallet.available - self._lapsed() == self.expected.available
        assert book.wallet.held == self.expected.held
        assert book.wallet.receivable == self.expected.receivable
        assert book.spendable == self.expected.spendable
        for one in book.grants:
            purse = self.expected.line if one.credit_line else self.expected.purses[one.grant_id]
            assert one.held == purse.held
            assert purse.available == (0 if one.expired(self.expected.now) else one.available)

    def _replay_gives_the_columns(self) -> None:
        wallet, proof = self.history.book.wallet, self.proof
        # Entries are only appended, so that the proof goes on where it was.
        for row in chained("org", self.history.entries[proof.count :], previous=proof.chain_hash):
            proof.follow(row)  # type: ignore[arg-type]
        replayed = proof.replayed()
        pending = {hold.hold_id: hold.held for hold, _ in self.holds if hold.held}
        assert {name: held for name, held in replayed.holds.items() if name} == pending
        assert (replayed.available, replayed.held) == (wallet.available, wallet.held)
        assert replayed.receivable == wallet.receivable
        assert replayed.entry_count == wallet.entry_sequence
        for one in self.history.book.grants:
            assert replayed.grants.get(one.grant_id, (0, 0)) == (one.available, one.held)

    def _the_equations_hold(self) -> None:
        wallet, grants = self.history.book.wallet, self.history.book.grants
        *ordinary, line = grants
        assert line.credit_line
        assert wallet.available == sum(one.available for one in grants)
        assert wallet.held == sum(one.held for one in grants)
        assert wallet.available >= -wallet.credit_limit
        assert all(one.available >= 0 and one.held >= 0 for one in ordinary)
        assert line.held >= 0 >= line.available + line.held
        living = sum(one.available for one in ordinary if not one.expired(self.expected.now))
        assert living == 0 or line.available + line.held == 0
        assert wallet.receivable == 0 or self.expected.available <= 0
        leased = sum(piece.held for slices in self.leases for piece in slices)
        assert leased + sum(hold.held for hold, _ in self.holds) == wallet.held

    def _every_account_adds_up(self) -> None:
        got = dict.fromkeys(Account, 0)
        for entry in self.history.entries:
            got[entry.debit_account] -= entry.amount
            got[entry.credit_account] += entry.amount
        assert got[Account.CLEARING] == self.expected.given
        assert -got[Account.REFUNDED] == self.expected.refunded
        assert -got[Account.FUNDING] == self.expected.funded
        assert got[Account.REVENUE] == self.expected.revenue
        assert got[Account.BREAKAGE] + self._lapsed() == self.expected.breakage

    def _event(self, units: list[str]) -> Cause:
        self.events.append(list(units))
        return Cause(event_source="api", event_id=f"evt_{len(self.events) - 1}")

    def _returned(self, entry: Entry, back: list[str]) -> None:
        """One entry of a refund gives the next units of `back` to their purse, or to a new one."""
        (name,) = set(back[: entry.amount])
        del back[: entry.amount]
        now = self.expected.now
        purse = self.expected.purses.get(name)
        if purse is None:
            self.expected.purses[entry.grant_id] = Purse(entry.grant_id, PRIORITY_DEFAULT, None, now)
        elif purse.expire_time is not None and purse.expire_time <= now:
            replaced = Purse(entry.grant_id, purse.priority, now + REFUND_GRACE, now)
            self.expected.purses[entry.grant_id] = replaced
        else:
            assert entry.grant_id == name
        self.expected.give_back(entry.grant_id, entry.amount)

    def _pick(self, which: int, part: int) -> tuple[int, int]:
        """Choose one of the newest leases and a part of it: nothing, quarters, or all."""
        if not self.leases:
            self.leases.append(())
        index = max(0, len(self.leases) - 1 - which)
        held = sum(piece.held for piece in self.leases[index])
        return index, (held * part + 3) // 4


def _name(piece: Slice) -> str:
    return "line" if piece.grant_id.startswith("line") else piece.grant_id
