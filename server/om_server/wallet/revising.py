"""Moves the differences of events that were rated again, of one organization and in one transaction."""

from collections.abc import Iterable, Mapping, Sequence

from om_server.core.clock import Clock
from om_server.core.ids import IdSource
from om_server.storage.batch import RowsContended
from om_server.storage.database import Database
from om_server.wallet.correction import by_wallet, give_back, refunds
from om_server.wallet.entry import Cause, Entry
from om_server.wallet.grant import Grant
from om_server.wallet.ledger import WalletBook
from om_server.wallet.revision import Balance, Revised, Revision, balance_of
from om_server.wallet.span import chain_of, charge
from om_server.wallet.store import WalletStore

_Entries = Mapping[tuple[str, str], list[Entry]]


class Revising:
    """Locks the wallets that paid or may pay. The caller has locked the events: nobody else revises them."""

    def __init__(self, database: Database, store: WalletStore, *, ids: IdSource, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._ids = ids
        self._clock = clock

    def revise(self, organization_id: str, revisions: Sequence[Revision]) -> list[Revised]:
        """Give back what is too much and charge what is missing; return what moved, in their order.

        What comes back goes to the grants that paid, the last first. What is missing is taken from the
        wallet and those behind it, and what they lack is receivable.
        """

        def run() -> list[Revised]:
            identities = {revision.identity for revision in revisions}
            before = self._store.journal.of_events(organization_id, identities)
            books = self._lock(organization_id, revisions, before)
            # Read again behind the locks, so that no refund by hand is missed.
            entries = self._store.journal.of_events(organization_id, identities)
            if not books.keys() >= _wallets(entries):
                raise RowsContended("entries")
            grants = self._store.grants(organization_id, {one.grant_id for one in _all(entries)})
            revised = [
                _move(
                    books,
                    balance_of(entries.get(revision.identity, ())),
                    revision,
                    grants=grants,
                    cause=revision.cause(organization_id),
                )
                for revision in revisions
            ]
            self._store.save(organization_id, books.values())
            return revised

        return self._database.write(run)

    def _lock(
        self, organization_id: str, revisions: Sequence[Revision], entries: _Entries
    ) -> dict[str, WalletBook]:
        wallet_ids = _wallets(entries) | {revision.wallet_id for revision in revisions} - {""}
        wallet_ids |= self._store.overflow.closure(organization_id, wallet_ids)
        return self._store.lock(organization_id, wallet_ids, now=self._clock(), new_id=self._ids.new)


def _move(
    books: Mapping[str, WalletBook],
    balance: Balance,
    revision: Revision,
    *,
    grants: Mapping[str, Grant],
    cause: Cause,
) -> Revised:
    due = balance.due(revision.charge)
    if due > 0 and revision.wallet_id in books:
        paid = charge(chain_of(books, revision.wallet_id), due, cause=cause)
        return Revised(due, paid.receivable)
    if due < 0:
        back = refunds(balance.payments, -due)
        for wallet_id, part in by_wallet(back):
            give_back(books[wallet_id], part, grants=grants, cause=cause)
        return Revised(due, -sum(payment.amount for payment in back if not payment.grant_id))
    return Revised()


def _all(entries: _Entries) -> Iterable[Entry]:
    return (entry for found in entries.values() for entry in found)


def _wallets(entries: _Entries) -> set[str]:
    return {entry.wallet_id for entry in _all(entries)}
