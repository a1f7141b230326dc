"""A wallet and its reference, always given the same orders and compared after each."""

import dataclasses

import pytest

from om_server.wallet.entry import GRANT, Account
from om_server.wallet.grant import Slice
from om_server.wallet.ledger import InsufficientFunds, Paid
from om_server.wallet.replay import replay
from om_server.wallet.wallet import WalletMode
from tests.server.wallet.reference import Purse, ReferenceWallet
from tests.server.wallet.scene import NONE, NOW, History, empty_book, grant


class Twins:
    """Amounts are small, because the reference moves them one by one."""

    def __init__(self, *, soft: bool = False, limit: int = 0) -> None:
        self.history = History(empty_book())
        self.expected = ReferenceWallet(now=NOW)
        self.leases: list[tuple[Slice, ...]] = []
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
        self.leases[index] = self.history.book.capture(self.leases[index], amount, cause=NONE)
        self.expected.capture(units[:amount])

    def release(self, which: int, part: int) -> None:
        index, amount = self._pick(which, part)
        units = [_name(piece) for piece in self.leases[index] for _ in range(piece.held)]
        self.leases[index] = self.history.book.release(self.leases[index], amount, cause=NONE)
        self.expected.release(units[len(units) - amount :][::-1])

    def charge(self, amount: int) -> None:
        assert self.history.book.charge(amount, cause=NONE) == Paid(*self.expected.charge(amount))

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
        self.history.reopen(now=self.expected.now, wallet=wallet)

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
        wallet, replayed = self.history.book.wallet, replay(self.history.entries)
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
        assert sum(piece.held for slices in self.leases for piece in slices) == wallet.held

    def _every_account_adds_up(self) -> None:
        got = dict.fromkeys(Account, 0)
        for entry in self.history.entries:
            got[entry.debit_account] -= entry.amount
            got[entry.credit_account] += entry.amount
        assert got[Account.CLEARING] == 0
        assert -got[Account.FUNDING] == self.expected.funded
        assert got[Account.REVENUE] == self.expected.revenue
        assert got[Account.BREAKAGE] + self._lapsed() == self.expected.breakage

    def _pick(self, which: int, part: int) -> tuple[int, int]:
        """Choose one of the newest leases and a part of it: nothing, quarters, or all."""
        if not self.leases:
            self.leases.append(())
        index = max(0, len(self.leases) - 1 - which)
        held = sum(piece.held for piece in self.leases[index])
        return index, (held * part + 3) // 4


def _name(piece: Slice) -> str:
    return "line" if piece.grant_id.startswith("line") else piece.grant_id
