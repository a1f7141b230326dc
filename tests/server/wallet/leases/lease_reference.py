"""Leases in memory, by the words of the edge contract and without a ledger: sums, and who may end what."""

from dataclasses import dataclass, field


@dataclass
class Loan:
    """A lease. `count` is what was declared; None before."""

    amount: int
    one: bool
    rest: int = 0
    settled: int = 0
    count: int | None = None
    keep: int | None = None
    doubted: bool = False
    over: bool = False
    resolved: bool = False
    suspense: int = 0

    def __post_init__(self) -> None:
        self.rest = self.amount
        self.count = 1 if self.one else None


@dataclass
class Purse:
    """A strict wallet with one everlasting grant, its leases, and what it holds for single events."""

    funded: int = 0
    available: int = 0
    owed: int = 0
    earned: int = 0
    loans: list[Loan] = field(default_factory=list)
    parked: dict[str, int] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return sum(loan.rest for loan in self.loans) + sum(self.parked.values())

    @property
    def suspended(self) -> int:
        return sum(loan.suspense for loan in self.loans)

    def fund(self, amount: int) -> None:
        self.funded += amount
        self.free(amount)

    def free(self, amount: int) -> None:
        self.available += amount
        back = min(self.available, self.owed)
        self.available -= back
        self.owed -= back

    def lend(self, amount: int, *, one: bool) -> Loan | None:
        if amount > self.available:
            return None
        self.available -= amount
        loan = Loan(amount, one)
        self.loans.append(loan)
        return loan

    def direct(self, due: int) -> None:
        self.earned += due
        paid = min(due, self.available)
        self.available -= paid
        self.owed += due - paid

    def settle(self, event: str, loan: Loan, cost: int, *, retained: int, park: bool = False) -> None:
        """Count an event on its lease, once; later only settle what was parked for it."""
        if event in self.parked:
            if not park:
                kept = self.parked.pop(event)
                part = min(cost, kept)
                self.earned += part
                self.free(kept - part)
                self.direct(cost - part)
            return
        loan.settled += 1
        if park:
            part = min(retained, loan.rest)
            loan.rest -= part
            self.parked[event] = part
        else:
            part = min(cost, retained, loan.suspense if loan.resolved else loan.rest)
            if loan.resolved:
                loan.suspense -= part
            else:
                loan.rest -= part
            self.earned += part
        self._end(loan)
        if not park:
            self.direct(cost - part)

    def declare(self, loan: Loan, count: int, *, keep: int) -> int:
        """Return what comes back at once."""
        if loan.over or loan.resolved or loan.doubted:
            return 0
        unused = loan.one and loan.keep is None and count == 0
        if (
            count < loan.settled
            or (loan.one and count > 1)
            or (loan.count not in (None, count) and not unused)
        ):
            loan.doubted = True
            return 0
        before = self.held
        returns = loan.amount - keep if loan.keep is None else loan.keep - keep
        loan.count, loan.keep = count, keep if loan.keep is None else min(loan.keep, keep)
        part = max(0, min(loan.rest, returns))
        loan.rest -= part
        self.free(part)
        self._end(loan)
        return before - self.held

    def resolve(self, loan: Loan) -> bool:
        if not loan.doubted or loan.over or loan.resolved:
            return False
        loan.resolved, loan.suspense, loan.rest = True, loan.rest, 0
        return True

    def decide(self, loan: Loan, charge: int) -> None:
        self.earned += charge
        rest, loan.suspense = loan.suspense - charge, 0
        self.free(rest)

    def _end(self, loan: Loan) -> None:
        if loan.settled == loan.count and not loan.resolved and not loan.over:
            loan.over = True
            rest, loan.rest = loan.rest, 0
            self.free(rest)
