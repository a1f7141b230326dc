"""The proof of the ledger: what the entries of a wallet add up to.

It shares no code with what wrote them but the link of the hash chain, so that it can convict it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from om_server.wallet.chain import EntryColumns, columns_of, link
from om_server.wallet.entry import Account, Entry

_ACCOUNTS = frozenset(account.value for account in Account)
_AVAILABLE, _HELD, _RECEIVABLE = Account.AVAILABLE.value, Account.HELD.value, Account.RECEIVABLE.value
_SUSPENSE = Account.SUSPENSE.value

#: A row of the journal: an entry's columns and its hash.
JournalRow = tuple[str, str, int, str, str, str, str, int, str, str, str, str, str, str, int, int, str]


class JournalBroken(Exception):
    """An entry that cannot follow the entries before it."""

    def __init__(self, entry_id: str, message: str) -> None:
        super().__init__(f"{entry_id}: {message}")
        self.entry_id = entry_id
        self.message = message


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a wallet's entries add up to; grants as (available, held), holds and leases as held."""

    available: int
    held: int
    receivable: int
    entry_count: int
    grants: Mapping[str, tuple[int, int]]
    holds: Mapping[str, int]


class Replay:
    """Adds up the rows of one wallet in order. `chain_start` entries at the beginning have no hash."""

    def __init__(self, *, chain_start: int = 0) -> None:
        self.count = self.total = self.receivable = 0
        self.last_id = self.chain_hash = ""
        self._chain_start = chain_start
        self._available: dict[str, int] = {}
        self._held: dict[str, int] = {}
        #: By hold or lease and grant; what is empty is left out, so that history takes no memory.
        self._holds: dict[tuple[str, str], int] = {}

    def follow(self, row: JournalRow) -> None:
        """Add an entry; JournalBroken if it does not follow."""
        _, _, sequence, entry_id, _, debit, credit, amount, grant_id, hold_id, *_, after, _, entry_hash = row
        self.count += 1
        if sequence != self.count:
            raise JournalBroken(entry_id, f"position {sequence} where {self.count} comes next")
        if sequence > self._chain_start:
            columns: EntryColumns = row[:-1]
            self.chain_hash = link(self.chain_hash, columns)
            if self.chain_hash != entry_hash:
                raise JournalBroken(entry_id, "its hash is not that of its content and the entry before it")
        self._move(debit, credit, amount, grant_id=grant_id, hold_id=hold_id, entry_id=entry_id)
        if after != self.total:
            raise JournalBroken(entry_id, f"leaves {self.total} available and says {after}")
        self.last_id = entry_id

    def _move(  # noqa: PLR0913 - the columns of one row, in the hottest place
        self, debit: str, credit: str, amount: int, *, grant_id: str, hold_id: str, entry_id: str
    ) -> None:
        if amount <= 0 or debit == credit:
            raise JournalBroken(entry_id, "moves nothing")
        if debit not in _ACCOUNTS or credit not in _ACCOUNTS:
            raise JournalBroken(entry_id, "moves money of an account that does not exist")
        for account, change in ((debit, -amount), (credit, amount)):
            if account == _AVAILABLE:
                self._available[grant_id] = self._available.get(grant_id, 0) + change
                self.total += change
            elif account == _HELD:
                held = self._held[grant_id] = self._held.get(grant_id, 0) + change
                if held < 0:
                    raise JournalBroken(entry_id, "takes what is not there")
                self._hold((hold_id, grant_id), change, entry_id=entry_id)
            elif account == _SUSPENSE:
                # Out of the wallet, but still set aside under its name.
                self._hold((hold_id, grant_id), change, entry_id=entry_id)
            elif account == _RECEIVABLE:
                self.receivable -= change
                if self.receivable < 0:
                    raise JournalBroken(entry_id, "takes what is not there")

    def _hold(self, slot: tuple[str, str], change: int, *, entry_id: str) -> None:
        held = self._holds.get(slot, 0) + change
        if held < 0:
            raise JournalBroken(entry_id, "takes more than its hold has")
        if held:
            self._holds[slot] = held
        else:
            del self._holds[slot]

    def replayed(self) -> Replayed:
        """Return what the entries so far add up to."""
        available, held = self._available, self._held
        ids = available.keys() | held.keys()
        grants = {grant_id: (available.get(grant_id, 0), held.get(grant_id, 0)) for grant_id in ids}
        holds: dict[str, int] = {}
        for (hold_id, _), amount in self._holds.items():
            holds[hold_id] = holds.get(hold_id, 0) + amount
        return Replayed(self.total, sum(held.values()), self.receivable, self.count, grants, holds)


def replay(entries: Iterable[Entry]) -> Replayed:
    """Add up all entries of one wallet in order, whatever their hashes."""
    proof = Replay(chain_start=2**63)
    for entry in entries:
        proof.follow((*columns_of("", entry), ""))  # type: ignore[arg-type]  # The columns of an entry.
    return proof.replayed()
