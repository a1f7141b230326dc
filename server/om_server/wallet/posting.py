"""A locked wallet's columns in memory, and the one way to move them: by appending an entry."""

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import replace

from om_server.wallet.entry import Account, Cause, Entry, Movement
from om_server.wallet.grant import BurnOrder, Grant, burn_order
from om_server.wallet.wallet import Wallet


class Line:
    """A grant whose columns move while its wallet is locked."""

    __slots__ = ("available", "grant", "held", "new", "order")

    def __init__(self, grant: Grant, *, new: bool = False) -> None:
        self.grant = grant
        self.available = grant.available
        self.held = grant.held
        self.new = new
        self.order: BurnOrder = burn_order(grant)

    @property
    def changed(self) -> bool:
        """Whether its row is another than the stored one."""
        return self.new or self.available != self.grant.available or self.held != self.grant.held

    def current(self) -> Grant:
        """Return the grant as it is now."""
        return replace(self.grant, available=self.available, held=self.held)


class Postings:
    """Wallet, grants in burn order, and the entries appended so far. `now` stamps every entry."""

    def __init__(
        self, wallet: Wallet, grants: Iterable[Grant], *, now: int, new_id: Callable[[str], str]
    ) -> None:
        self.opened = wallet
        self.now = now
        self.lines = sorted((Line(grant) for grant in grants), key=_order)
        self.line_of = {line.grant.grant_id: line for line in self.lines}
        self.available = wallet.available
        self.held = wallet.held
        self.receivable = wallet.receivable
        self.entries: list[Entry] = []
        self._new_id = new_id
        self._cause = Cause()
        self._group_id = ""

    @property
    def wallet(self) -> Wallet:
        """The wallet as it is now."""
        living = [line.grant.expire_time for line in self.lines if line.available or line.held]
        return replace(
            self.opened,
            available=self.available,
            held=self.held,
            receivable=self.receivable,
            entry_sequence=self.opened.entry_sequence + len(self.entries),
            next_expire_time=min((time for time in living if time and time > self.now), default=None),
        )

    def add(self, grant: Grant) -> Line:
        """Take in a grant that is not stored yet, with nothing in it."""
        line = Line(replace(grant, available=0, held=0), new=True)
        insort(self.lines, line, key=_order)
        self.line_of[grant.grant_id] = line
        return line

    def begin(self, cause: Cause) -> None:
        """Start a group of entries that share a cause."""
        self._cause = cause
        self._group_id = ""

    def post(self, movement: Movement, amount: int, *, line: Line | None = None) -> None:
        """Append one entry of `amount` > 0 and move the columns that its two accounts name."""
        for account, change in ((movement.debit, -amount), (movement.credit, amount)):
            if account is Account.RECEIVABLE:
                # A debt of the wallet's owner: it grows by what the account gives.
                self.receivable -= change
            elif line is not None and account is Account.AVAILABLE:
                line.available += change
                self.available += change
            elif line is not None and account is Account.HELD:
                line.held += change
                self.held += change
        self.entries.append(self._entry(movement, amount, grant_id=line.grant.grant_id if line else ""))

    def _entry(self, movement: Movement, amount: int, *, grant_id: str) -> Entry:
        entry_id = self._new_id("ent")
        self._group_id = self._group_id or entry_id
        cause = self._cause
        return Entry(
            entry_id=entry_id,
            wallet_id=self.opened.wallet_id,
            sequence=self.opened.entry_sequence + len(self.entries) + 1,
            kind=movement.kind,
            debit_account=movement.debit,
            credit_account=movement.credit,
            amount=amount,
            grant_id=grant_id,
            hold_id=cause.hold_id,
            event_source=cause.event_source,
            event_id=cause.event_id,
            group_id=self._group_id,
            description=cause.description,
            available_after=self.available,
            create_time=self.now,
        )


def _order(line: Line) -> BurnOrder:
    return line.order
