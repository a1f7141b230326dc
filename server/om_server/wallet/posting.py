"""A locked wallet's columns in memory, and the one way to move them: by appending an entry."""

from bisect import insort
from collections.abc import Callable, Iterable
from dataclasses import replace

from om_server.wallet.entry import Account, Cause, Entry, Movement
from om_server.wallet.grant import BurnOrder, Grant, burn_order
from om_server.wallet.wallet import Wallet

# A member looked up in its class costs more than the sum it decides about.
_AVAILABLE, _HELD, _RECEIVABLE = Account.AVAILABLE, Account.HELD, Account.RECEIVABLE


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
        self.group_id = ""
        self._new_id = new_id
        self._cause = Cause()

    @property
    def wallet(self) -> Wallet:
        """The wallet as it is now."""
        living = [line.grant.expire_time for line in self.lines if line.available or line.held]
        return replace(
            self.opened,
            available=self.available,
            held=self.held,
            receivable=self.receivable,
            entry_sequence=self.entry_sequence,
            next_expire_time=min((time for time in living if time and time > self.now), default=None),
        )

    @property
    def entry_sequence(self) -> int:
        """The position of the last entry."""
        return self.opened.entry_sequence + len(self.entries)

    def add(self, grant: Grant) -> Line:
        """Take in a grant that is not stored yet, with nothing in it."""
        line = Line(replace(grant, available=0, held=0), new=True)
        insort(self.lines, line, key=_order)
        self.line_of[grant.grant_id] = line
        return line

    def open(self, amount: int, *, priority: int, expire_time: int | None) -> Line:
        """Take in a grant that comes into being here, with nothing in it yet."""
        grant_id, wallet_id = self._new_id("grt"), self.opened.wallet_id
        return self.add(
            Grant(grant_id, wallet_id, amount, self.now, priority=priority, expire_time=expire_time)
        )

    def recall(self, grant: Grant) -> Line:
        """Return the line of a stored grant, taken in as it was stored if it was empty until now."""
        if grant.grant_id not in self.line_of:
            line = self.line_of[grant.grant_id] = Line(grant)
            insort(self.lines, line, key=_order)
        return self.line_of[grant.grant_id]

    def begin(self, cause: Cause, *, group_id: str = "") -> None:
        """Start a group of entries that share a cause, or go on with one that another wallet began."""
        self._cause = cause
        self.group_id = group_id or cause.group_id

    def post(self, movement: Movement, amount: int, *, line: Line | None = None) -> None:
        """Append one entry of `amount` > 0 and move the columns that its two accounts name."""
        for account, change in ((movement.debit, -amount), (movement.credit, amount)):
            if account is _RECEIVABLE:
                # A debt of the wallet's owner: it grows by what the account gives.
                self.receivable -= change
            elif line is None:
                continue
            elif account is _AVAILABLE:
                line.available += change
                self.available += change
            elif account is _HELD:
                line.held += change
                self.held += change
        self.entries.append(self._entry(movement, amount, grant_id=line.grant.grant_id if line else ""))

    def _entry(self, movement: Movement, amount: int, *, grant_id: str) -> Entry:
        entry_id = self._new_id("ent")
        self.group_id = self.group_id or entry_id
        cause = self._cause
        # By position, in the order of the fields: names take as long again, and this runs for each event.
        return Entry(
            self.opened.wallet_id,
            self.opened.entry_sequence + len(self.entries) + 1,
            entry_id,
            movement.kind,
            movement.debit,
            movement.credit,
            amount,
            grant_id,
            cause.hold_id,
            cause.event_source,
            cause.event_id,
            self.group_id,
            cause.description,
            self.available,
            self.now,
        )


def _order(line: Line) -> BurnOrder:
    return line.order
