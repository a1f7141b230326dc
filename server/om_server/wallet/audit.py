"""Verification: every ledger replayed and compared with what is stored, in order and without haste.

Nothing is locked, and a ledger that moves meanwhile is compared as of the moment its balances were read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from om_server.core.errors import NotFound
from om_server.storage.database import Database
from om_server.wallet.audit_store import AuditStore, StoredLedger
from om_server.wallet.replay import JournalBroken, JournalRow, Replay, Replayed

#: Wallets whose balances are read, and kept in memory, at a time.
_WALLETS = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and the first entry where it shows; no entry where only the balances are wrong."""

    entry_id: str
    message: str


@dataclass(frozen=True, slots=True)
class Verified:
    """A ledger that was replayed; no wallet is the organization as a whole."""

    organization_id: str
    wallet_id: str
    entry_count: int
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """The verification of an organization: how many entries were read, and the first that is wrong."""

    entry_count: int
    first: Verified | None = None


class LedgerProof:
    """The replay of one wallet's journal against its stored columns."""

    def __init__(self, stored: StoredLedger) -> None:
        self._stored = stored
        self._replay = Replay(chain_start=stored.chain_start)
        self._finding: Finding | None = None
        #: The newest entry that came after the balances were read.
        self.beyond: JournalRow | None = None

    @property
    def entry_count(self) -> int:
        """How many entries were read, the first bad one included."""
        return self._replay.count

    def follow(self, rows: Iterable[JournalRow]) -> None:
        """Add the next entries; those after the first bad one are not looked at."""
        follow, end = self._replay.follow, self._stored.entry_sequence
        for row in rows:
            if self._finding is not None:
                return
            if row[2] > end:
                self.beyond = row
                continue
            try:
                follow(row)
            except JournalBroken as broken:
                self._finding = Finding(broken.entry_id, broken.message)

    def conclude(self) -> Finding | None:
        """Compare what the entries add up to with what is stored."""
        if self._finding is None:
            message = next(self._differences(), "")
            self._finding = Finding(self._replay.last_id, message) if message else None
        return self._finding

    def _differences(self) -> Iterator[str]:
        stored, replayed = self._stored, self._replay.replayed()
        if replayed.entry_count != stored.entry_sequence:
            yield f"the ledger ends at {replayed.entry_count}; its wallet has {stored.entry_sequence} entries"
        if self._replay.chain_hash != stored.chain_hash:
            yield "the last hash is not the wallet's"
        columns = (stored.available, stored.held, stored.receivable)
        sums = (replayed.available, replayed.held, replayed.receivable)
        if columns != sums:
            yield f"available, held and receivable are {columns}; the entries make {sums}"
        if stored.available < -stored.credit_limit:
            yield f"available is {stored.available}, below the credit limit of {stored.credit_limit}"
        yield from self._parts(replayed)

    def _parts(self, replayed: Replayed) -> Iterator[str]:
        stored = self._stored
        for grant_id in sorted(stored.grants.keys() | replayed.grants.keys()):
            columns, sums = stored.grants.get(grant_id, (0, 0)), replayed.grants.get(grant_id, (0, 0))
            if columns != sums:
                yield f"grant {grant_id} has {columns} available and held; the entries make {sums}"
            if grant_id not in stored.credit_lines and columns[0] < 0:
                yield f"grant {grant_id} has {columns[0]} available"
        for hold_id in sorted(stored.holds.keys() | replayed.holds.keys()):
            held, made = stored.holds.get(hold_id, 0), replayed.holds.get(hold_id, 0)
            if held != made:
                yield f"{hold_id or 'no hold'} has {held} set aside; the entries make {made}"


class LedgerAudit:
    """Verifies ledgers without changing or locking anything."""

    def __init__(self, database: Database) -> None:
        self._store = AuditStore(database)

    def verify(self, organization_id: str, *, wallet_id: str = "") -> LedgerReport:
        """Replay an organization, or one wallet of it, up to the first thing that is wrong."""
        count = 0
        if wallet_id and self._store.entry_sequence(organization_id, wallet_id) is None:
            raise NotFound("wallet", wallet_id)
        for verified in self._organization(organization_id, wallet_id):
            count += verified.entry_count
            if verified.finding is not None:
                return LedgerReport(count, verified)
        return LedgerReport(count)

    def verify_all(self) -> Iterator[Verified]:
        """Yield every ledger of every organization as it was verified, with what is wrong in it."""
        organization_id = self._store.next_organization("")
        while organization_id is not None:
            yield from self._organization(organization_id, "")
            organization_id = self._store.next_organization(organization_id)

    def _organization(self, organization_id: str, wallet_id: str) -> Iterator[Verified]:
        after, more = "", True
        while more:
            ledgers = self._store.ledgers(organization_id, after=after, limit=_WALLETS, wallet_id=wallet_id)
            more = len(ledgers) == _WALLETS
            # The last page ends nowhere, so that entries without a wallet are read too.
            last = ledgers[-1].wallet_id if more else ""
            journal = self._store.entries(organization_id, after=after, last=last, wallet_id=wallet_id)
            yield from self._page(organization_id, ledgers, journal)
            after = last
        if not wallet_id and (group := self._store.unbalanced_group(organization_id)):
            finding = Finding(group[0], f"its group leaves {group[1]} in clearing")
            yield Verified(organization_id, "", 0, finding)

    def _page(
        self, organization_id: str, ledgers: list[StoredLedger], journal: Iterable[list[JournalRow]]
    ) -> Iterator[Verified]:
        proofs = {ledger.wallet_id: LedgerProof(ledger) for ledger in ledgers}
        strays: dict[str, JournalRow] = {}
        for rows in journal:
            for wallet_id, group in groupby(rows, key=lambda row: row[1]):
                if wallet_id in proofs:
                    proofs[wallet_id].follow(group)
                else:
                    strays[wallet_id] = next(group)
        for wallet_id, proof in proofs.items():
            finding = proof.conclude()
            if finding is None and proof.beyond is not None:
                finding = self._beyond(organization_id, proof.beyond)
            yield Verified(organization_id, wallet_id, proof.entry_count, finding)
        for wallet_id, row in strays.items():
            if finding := self._beyond(organization_id, row):
                yield Verified(organization_id, wallet_id, 0, finding)

    def _beyond(self, organization_id: str, row: JournalRow) -> Finding | None:
        """Say what is wrong with an entry that its wallet did not have yet: nothing, if it has it now."""
        end = self._store.entry_sequence(organization_id, row[1])
        if end is None:
            return Finding(row[3], "there is no such wallet")
        return None if row[2] <= end else Finding(row[3], f"stands after the end of its ledger at {end}")
