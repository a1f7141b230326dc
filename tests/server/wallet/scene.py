"""Wallets for tests, made by the operations that make real ones."""

import dataclasses
import itertools
from collections.abc import Callable

from om_server.wallet.entry import GRANT, Cause, Entry
from om_server.wallet.grant import Grant
from om_server.wallet.ledger import WalletBook
from om_server.wallet.wallet import Owner, OwnerKind, Wallet, WalletMode

NOW = 1_000
NONE = Cause()


def counting_ids() -> Callable[[str], str]:
    numbers = itertools.count(1)
    return lambda prefix: f"{prefix}_{next(numbers):06d}"


def grant(
    name: str, amount: int, *, priority: int = 100, expire_time: int | None = None, create_time: int = 0
) -> Grant:
    return Grant(name, "wal", amount, create_time, priority=priority, expire_time=expire_time)


def empty_book(*, wallet_id: str = "wal", credit_limit: int = 0, now: int = NOW) -> WalletBook:
    """A wallet with nothing in it; soft if it has a credit limit."""
    mode = WalletMode.SOFT if credit_limit else WalletMode.STRICT
    wallet = Wallet(wallet_id, Owner(OwnerKind.USER, "ada"), mode=mode, credit_limit=credit_limit)
    line = Grant(f"line_{wallet_id}", wallet_id, 0, 0, credit_line=True)
    return WalletBook(wallet, [line], now=now, new_id=counting_ids())


def book_with(*grants: Grant, credit_limit: int = 0, now: int = NOW) -> WalletBook:
    book = empty_book(credit_limit=credit_limit, now=now)
    for one in grants:
        book.fund(one, GRANT, cause=NONE)
    return book


class History:
    """A wallet over many transactions: locked, changed, saved and locked again, with its whole journal."""

    def __init__(self, book: WalletBook) -> None:
        self.book = book
        self.saved: list[Entry] = []
        self._new_id = counting_ids()

    @property
    def entries(self) -> list[Entry]:
        return [*self.saved, *self.book.entries]

    def reopen(self, *, now: int, wallet: Wallet | None = None) -> WalletBook:
        """Save, and lock again at another time, perhaps with other settings."""
        self.saved = self.entries
        after = self.book.wallet
        settings = wallet or after
        opened = dataclasses.replace(
            after, mode=settings.mode, blocked=settings.blocked, credit_limit=settings.credit_limit
        )
        kept = [one for one in self.book.grants if one.available or one.held or one.credit_line]
        self.book = WalletBook(opened, kept, now=now, new_id=self._new_id)
        return self.book


class FakeClock:
    """Microseconds that pass only when a test says so."""

    def __init__(self, now: int = 1_763_700_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now
