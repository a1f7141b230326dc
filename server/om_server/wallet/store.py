"""Where wallets and their grants are kept: read as values, locked as books, saved under a guard."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

import peewee

from om_server.core.errors import NotFound
from om_server.storage.batch import BatchWriter
from om_server.storage.database import Database
from om_server.wallet.answer import AnswerStore
from om_server.wallet.chain import chained
from om_server.wallet.entry import Cause
from om_server.wallet.grant import Grant
from om_server.wallet.holds.escrow_store import EscrowStore
from om_server.wallet.holds.store import HoldStore
from om_server.wallet.journal import JournalStore
from om_server.wallet.leases.edge_store import EdgeStore
from om_server.wallet.leases.store import LeaseStore
from om_server.wallet.ledger import WalletBook
from om_server.wallet.overflow import OverflowStore
from om_server.wallet.reads import WalletReads
from om_server.wallet.record import MODELS, GrantRow, ResolutionRow, WalletRow
from om_server.wallet.row import (
    GRANT_COLUMNS,
    grant_from_row,
    grant_to_row,
    wallet_to_row,
)
from om_server.wallet.wallet import Owner, OwnerKind, Wallet

__all__ = ["MODELS", "WalletStore"]


class WalletStore:
    """Wallets of one organization; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._reads = WalletReads(database)
        self._batch = BatchWriter(database)
        self.journal = JournalStore(database)
        self.leases = LeaseStore(database)
        self.holds = HoldStore(database)
        self.escrows = EscrowStore(database)
        self.edges = EdgeStore(database)
        self.overflow = OverflowStore(database)
        self.answers = AnswerStore()

    def get(self, organization_id: str, wallet_id: str) -> Wallet | None:
        """Return a wallet as it is stored."""
        found = self._reads.by_ids(organization_id, [wallet_id])
        return found[0] if found else None

    def require(self, organization_id: str, wallet_id: str) -> Wallet:
        """Return a wallet as it is stored, or NOT_FOUND."""
        wallet = self.get(organization_id, wallet_id)
        if wallet is None:
            raise NotFound("wallet", wallet_id)
        return wallet

    def of_owners(self, organization_id: str, owners: Collection[Owner]) -> dict[Owner, Wallet]:
        """Return the wallets that these owners have, as they are stored."""
        return {wallet.owner: wallet for wallet in self._reads.of_owners(organization_id, owners)}

    def resolution(self, organization_id: str, owners: Collection[Owner]) -> tuple[int, dict[Owner, Wallet]]:
        """Return the version of decisions who pays, and of the same moment what `of_owners` does."""
        version, wallets = self._reads.resolution(organization_id, owners)
        return version, {wallet.owner: wallet for wallet in wallets}

    def page(
        self,
        organization_id: str,
        kind: OwnerKind | None,
        *,
        owner_ids: Sequence[str] = (),
        after: str,
        limit: int,
    ) -> list[Wallet]:
        """Return wallets with ids above `after`, oldest first: ids grow with time."""
        return self._reads.page(organization_id, kind, owner_ids=owner_ids, after=after, limit=limit)

    def as_of(self, organization_id: str, wallets: Sequence[Wallet], *, now: int) -> list[Wallet]:
        """Return wallets as the clock leaves them, with their next expiry.

        What is over by now, grants and holds, is posted when the wallet is next locked.
        """
        expiring: dict[str, list[Grant]] = {wallet.wallet_id: [] for wallet in wallets}
        for grant in self._reads.expiring(organization_id, expiring):
            expiring[grant.wallet_id].append(grant)
        current = {wallet.wallet_id: wallet.as_of(now, expiring[wallet.wallet_id]) for wallet in wallets}
        holding = [wallet.wallet_id for wallet in wallets if wallet.held]
        freed = {hold.wallet_id for hold in self.holds.lapsed(organization_id, holding, now=now)}
        changing = [wallet for wallet in wallets if wallet.wallet_id in freed]
        # Nothing of these books is written, so their ids name nothing.
        for wallet_id, book in self._books(organization_id, changing, now=now, new_id=str).items():
            book.begin(Cause())
            current[wallet_id] = replace(book.wallet, entry_sequence=book.opened.entry_sequence)
        return [current[wallet.wallet_id] for wallet in wallets]

    def create(self, organization_id: str, wallet: Wallet, *, credit_line_id: str) -> bool:
        """Insert a wallet with its credit line; False if its owner has one by now.

        A twin that is not committed yet is waited for, so afterwards the wallet can be locked.
        """
        insert = WalletRow.insert(wallet_to_row(organization_id, wallet)).on_conflict_ignore()
        if not list(insert.returning(WalletRow.wallet_id).tuples().execute()):
            return False
        line = Grant(credit_line_id, wallet.wallet_id, 0, wallet.create_time, credit_line=True)
        GrantRow.insert(grant_to_row(organization_id, line)).execute()
        return True

    def ensure(
        self, organization_id: str, owner: Owner, *, now: int, new_id: Callable[[str], str]
    ) -> WalletBook:
        """Lock an owner's wallet, created first if it is missing."""
        wallet = self.of_owners(organization_id, [owner]).get(owner)
        if wallet is None:
            created = Wallet(new_id("wal"), owner, create_time=now)
            if self.create(organization_id, created, credit_line_id=new_id("grt")):
                self.bump_resolution(organization_id)
                wallet = created
            else:
                wallet = self.of_owners(organization_id, [owner])[owner]
        return self.lock(organization_id, [wallet.wallet_id], now=now, new_id=new_id)[wallet.wallet_id]

    def lock(
        self, organization_id: str, wallet_ids: Iterable[str], *, now: int, new_id: Callable[[str], str]
    ) -> dict[str, WalletBook]:
        """Lock wallets in the order of their ids and return the books of those that exist."""
        wallets = self._reads.by_ids(organization_id, wallet_ids, locked=True)
        return self._books(organization_id, wallets, now=now, new_id=new_id)

    def look(
        self, organization_id: str, wallet_ids: Iterable[str], *, now: int, new_id: Callable[[str], str]
    ) -> dict[str, WalletBook]:
        """Return books to ask them something; they are not locked and must not be saved."""
        wallets = self._reads.by_ids(organization_id, wallet_ids)
        return self._books(organization_id, wallets, now=now, new_id=new_id)

    def save(self, organization_id: str, books: Iterable[WalletBook]) -> None:
        """Write what happened in locked books: wallets, grants, lapsed holds, and chained entries."""
        moved = [book for book in books if book.entries]
        ledgers = [chained(organization_id, book.entries, previous=book.opened.chain_hash) for book in moved]
        heads = [rows[-1][-1] for rows in ledgers]
        self._guarded_update(organization_id, moved, heads)
        new, changed = [book.new_grants for book in moved], [book.changed_columns for book in moved]
        if any(new):
            grants = [grant_to_row(organization_id, grant) for added in new for grant in added]
            GrantRow.insert_many(grants).execute()
        rows = [
            (available, held, organization_id, grant_id)
            for altered in changed
            for grant_id, available, held in altered
        ]
        self._batch.update(GrantRow, ("available", "held"), rows=rows)
        self.holds.save(organization_id, [hold for book in moved for hold in book.lapsed])
        self.journal.append([row for rows in ledgers for row in rows])

    def grants(self, organization_id: str, grant_ids: Collection[str]) -> dict[str, Grant]:
        """Return grants by id, empty ones too; their wallets are locked."""
        query: peewee.ModelSelect[Any] = GrantRow.select(*GRANT_COLUMNS).where(
            (GrantRow.organization_id == organization_id) & GrantRow.grant_id.in_(sorted(grant_ids))
        )
        found = map(grant_from_row, query.tuples())
        return {grant.grant_id: grant for grant in found}

    def configure(self, organization_id: str, wallet: Wallet) -> None:
        """Write the settings of a locked wallet."""
        WalletRow.update(
            mode=wallet.mode,
            blocked=wallet.blocked,
            credit_limit=wallet.credit_limit,
            overflow_wallet_id=wallet.overflow_wallet_id or None,
        ).where(
            (WalletRow.organization_id == organization_id) & (WalletRow.wallet_id == wallet.wallet_id)
        ).execute()

    def bump_resolution(self, organization_id: str) -> None:
        """End every cached decision who pays: a wallet came into being, or pays in another way."""
        ResolutionRow.insert(organization_id=organization_id, resolution_version=1).on_conflict(
            conflict_target=[ResolutionRow.organization_id],
            update={ResolutionRow.resolution_version: ResolutionRow.resolution_version + 1},
        ).execute()

    def lock_resolution(self, organization_id: str) -> None:
        """Let nobody else change who pays until the transaction ends. Before any lock on a wallet.

        An organization without wallets has nothing to lock yet.
        """
        self._reads.lock_resolution(organization_id)

    def resolution_version(self, organization_id: str) -> int:
        """Return the version of decisions who pays; 0 before the first wallet."""
        return self._reads.resolution_version(organization_id)

    def _books(
        self, organization_id: str, wallets: Sequence[Wallet], *, now: int, new_id: Callable[[str], str]
    ) -> dict[str, WalletBook]:
        """Read the grants of wallets that were read, and locked, by a statement before this one.

        One statement for both would see the grants as they were before it waited for the lock.
        """
        grants: dict[str, list[Grant]] = {wallet.wallet_id: [] for wallet in wallets}
        living, lapsing = self._reads.grants(organization_id, grants, now=now)
        for grant in living:
            grants[grant.wallet_id].append(grant)
        books = {
            wallet.wallet_id: WalletBook(wallet, grants[wallet.wallet_id], now=now, new_id=new_id)
            for wallet in wallets
        }
        if lapsing:
            for hold in self.holds.lapsed(organization_id, books, now=now):
                books[hold.wallet_id].lapse(hold)
        return books

    def _guarded_update(
        self, organization_id: str, books: Sequence[WalletBook], heads: Sequence[str | int]
    ) -> None:
        """Move wallets on from the entry that they had when they were locked, or fail."""
        rows = []
        for book, head in zip(books, heads, strict=True):
            after, opened = book.postings, book.opened
            # Not by way of `wallet`, which is a new one with its next expiry each time.
            rows.append((
                after.available, after.held, after.receivable, after.entry_sequence, head,
                organization_id, opened.wallet_id, opened.entry_sequence,
            ))  # fmt: skip
        columns = ("available", "held", "receivable", "entry_sequence", "chain_hash")
        self._batch.update(WalletRow, columns, rows=rows, guard="entry_sequence")
