"""The proof of the ledger: what the entries of a wallet add up to.

It shares no code with what wrote them, so that it can convict it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from om_server.wallet.entry import Account, Entry


class JournalBroken(Exception):
    """An entry that cannot follow the entries before it."""

    def __init__(self, entry_id: str, message: str) -> None:
        super().__init__(f"{entry_id}: {message}")
        self.entry_id = entry_id
        self.message = message


@dataclass(frozen=True, slots=True)
class Replayed:
    """The columns that a wallet's entries add up to; grants as (available, held)."""

    available: int
    held: int
    receivable: int
    entry_count: int
    grants: Mapping[str, tuple[int, int]]


def replay(entries: Iterable[Entry]) -> Replayed:
    """Add up all entries of one wallet in order; JournalBroken at the first that does not follow."""
    available: dict[str, int] = {}
    held: dict[str, int] = {}
    receivable = count = total = 0
    for entry in entries:
        count += 1
        if entry.sequence != count:
            raise JournalBroken(entry.entry_id, f"position {entry.sequence} where {count} comes next")
        if entry.amount <= 0 or entry.debit_account == entry.credit_account:
            raise JournalBroken(entry.entry_id, "moves nothing")
        for account, change in ((entry.debit_account, -entry.amount), (entry.credit_account, entry.amount)):
            if account is Account.AVAILABLE:
                available[entry.grant_id] = available.get(entry.grant_id, 0) + change
                total += change
            elif account is Account.HELD:
                held[entry.grant_id] = held.get(entry.grant_id, 0) + change
            elif account is Account.RECEIVABLE:
                receivable -= change
        if held.get(entry.grant_id, 0) < 0 or receivable < 0:
            raise JournalBroken(entry.entry_id, "takes what is not there")
        if entry.available_after != total:
            raise JournalBroken(entry.entry_id, f"leaves {total} available and says {entry.available_after}")
    grants = {grant_id: (available.get(grant_id, 0), held.get(grant_id, 0)) for grant_id in available | held}
    return Replayed(total, sum(held.values()), receivable, count, grants)
