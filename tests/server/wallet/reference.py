"""A second, slow statement of the ledger's rules: it moves one unit at a time and keeps no entries."""

from dataclasses import dataclass, field

#: Who paid a unit that nobody paid.
DEBT = "debt"


@dataclass
class Purse:
    """A grant, or the credit line."""

    name: str
    priority: int = 0
    expire_time: int | None = None
    create_time: int = 0
    available: int = 0
    held: int = 0


def comes_before(one: Purse, other: Purse) -> bool:
    """Lower priority; then the one that expires sooner, if any does; then the older; then the lower id."""
    if one.priority != other.priority:
        return one.priority < other.priority
    if one.expire_time != other.expire_time:
        if one.expire_time is None or other.expire_time is None:
            return other.expire_time is None
        return one.expire_time < other.expire_time
    if one.create_time != other.create_time:
        return one.create_time < other.create_time
    return one.name < other.name


@dataclass
class ReferenceWallet:
    """What a wallet is expected to be."""

    now: int = 0
    soft: bool = False
    limit: int = 0
    purses: dict[str, Purse] = field(default_factory=dict)
    line: Purse = field(default_factory=lambda: Purse("line"))
    receivable: int = 0
    funded: int = 0
    revenue: int = 0
    refunded: int = 0
    breakage: int = 0
    #: What it gave to other wallets, less what it got from them.
    given: int = 0

    @property
    def available(self) -> int:
        return self.line.available + sum(purse.available for purse in self.purses.values())

    @property
    def held(self) -> int:
        return self.line.held + sum(purse.held for purse in self.purses.values())

    @property
    def spendable(self) -> int:
        return max(0, self.available + (self.limit if self.soft else 0))

    def first(self) -> Purse | None:
        """The purse that the next unit comes from, by comparing every purse with every other."""
        full = [purse for purse in self.purses.values() if purse.available]
        for purse in full:
            if all(purse is other or comes_before(purse, other) for other in full):
                return purse
        return None

    def next(self) -> Purse:
        return self.first() or self.line

    def expire(self) -> None:
        for purse in self.purses.values():
            if purse.expire_time is not None and purse.expire_time <= self.now:
                self.breakage += purse.available
                purse.available = 0

    def fund(self, purse: Purse, amount: int) -> None:
        self.expire()
        purse.available = amount
        self.purses[purse.name] = purse
        self.funded += amount
        self.pay_debts()

    def reserve(self, amount: int) -> dict[str, int]:
        self.expire()
        taken: dict[str, int] = {}
        for _ in range(amount):
            purse = self.next()
            purse.available -= 1
            purse.held += 1
            taken[purse.name] = taken.get(purse.name, 0) + 1
        return taken

    def release(self, names: list[str]) -> None:
        self.expire()
        for name in names:
            purse = self.purse(name)
            purse.held -= 1
            purse.available += 1
            self.expire()
        self.pay_debts()

    def capture(self, names: list[str]) -> None:
        self.expire()
        for name in names:
            self.purse(name).held -= 1
            self.revenue += 1
        self.pay_debts()

    def charge(self, amount: int) -> list[str]:
        """Take units and tell from which purse each came; a debt is a purse too."""
        self.expire()
        payers = []
        for _ in range(amount):
            self.revenue += 1
            if self.spendable:
                purse = self.next()
                purse.available -= 1
                payers.append(purse.name)
            else:
                self.receivable += 1
                payers.append(DEBT)
        return payers

    def owe(self, amount: int) -> None:
        self.expire()
        self.revenue += amount
        self.receivable += amount
        self.pay_debts()

    def adjust_down(self, amount: int) -> None:
        self.expire()
        for _ in range(amount):
            self.next().available -= 1
        self.funded -= amount

    def give_back(self, name: str, amount: int) -> None:
        """Return units to a purse, which is there or was opened for them."""
        self.expire()
        for _ in range(amount):
            self.purses[name].available += 1
            self.refunded += 1
            self.pay_debts()

    def give_away(self, amount: int) -> list[str]:
        """Take units out of purses that are not the credit line, in burn order."""
        self.expire()
        names = []
        for _ in range(amount):
            purse = self.first()
            assert purse is not None
            purse.available -= 1
            names.append(purse.name)
        self.given += amount
        return names

    def take_in(self, purse: Purse, amount: int) -> None:
        self.purses[purse.name] = purse
        purse.available = amount
        self.given -= amount

    def pay_debts(self) -> None:
        while self.line.available + self.line.held < 0 and (purse := self.first()):
            purse.available -= 1
            self.line.available += 1
        while self.receivable and self.available > 0 and (purse := self.first()):
            purse.available -= 1
            self.receivable -= 1

    def purse(self, name: str) -> Purse:
        return self.line if name == "line" else self.purses[name]
