"""An account statement: what changed a wallet's balance, each with the balance before and after it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from om_server.core.errors import PageTokenInvalid
from om_server.core.page import PageRequest, decode_token, encode_token
from om_server.storage.database import Database
from om_server.wallet.entry import Account, Entry
from om_server.wallet.store import WalletStore
from om_server.wallet.wallet import Owner, Wallet

#: What is in the wallet, set aside or not.
INSIDE = (Account.AVAILABLE, Account.HELD)


@dataclass(frozen=True, slots=True)
class Transaction:
    """An entry by which the balance changed. `balance_after` is in nano-credits."""

    entry: Entry
    balance_after: int

    @property
    def amount(self) -> int:
        """By how much the balance changed."""
        return change_of(self.entry)

    @property
    def balance_before(self) -> int:
        """What the wallet had before it."""
        return self.balance_after - self.amount


@dataclass(frozen=True, slots=True)
class TransactionPage:
    """Transactions of one wallet, newest first, and how many there are in all."""

    transactions: tuple[Transaction, ...] = ()
    next_page_token: str = ""
    total_size: int = 0


def change_of(entry: Entry) -> int:
    """Return by how much an entry changed the balance; 0 if it only moved inside, or outside, of it."""
    return entry.amount * ((entry.credit_account in INSIDE) - (entry.debit_account in INSIDE))


def with_balances(balance: int, entries: Iterable[Entry]) -> list[Transaction]:
    """Give entries, newest first, their balances; `balance` is the one after the first of them.

    Between two of them the balance may change and change back: only the first balance of a page is read.
    """
    found = []
    for entry in entries:
        found.append(Transaction(entry, balance))
        balance -= change_of(entry)
    return found


class Statements:
    """Reads pages of statements."""

    def __init__(self, database: Database, store: WalletStore) -> None:
        self._database = database
        self._store = store

    def page(
        self, organization_id: str, *, owner: Owner, wallet_id: str = "", page: PageRequest
    ) -> TransactionPage:
        """List what changed the balance of a wallet; of an owner without one, nothing."""
        arguments = {
            "list": "transactions",
            "wallet_id": wallet_id,
            "owner": f"{owner.kind} {owner.owner_id}",
        }
        cursor = decode_token(page.token, arguments)
        if cursor and not isinstance(cursor[0], int):
            raise PageTokenInvalid

        def run() -> TransactionPage:
            wallet = self._wallet(organization_id, owner=owner, wallet_id=wallet_id)
            if wallet is None:
                return TransactionPage()
            journal = self._store.journal
            # Entries that are written meanwhile are not in the row that was read.
            newest = wallet.entry_sequence + 1
            before = int(cursor[0]) if cursor else newest
            entries = journal.changes(
                organization_id, wallet.wallet_id, sequence=before, skip=page.skip, limit=page.size + 1
            )
            total = journal.count_changes(organization_id, wallet.wallet_id, sequence=newest)
            shown = self._shown(organization_id, wallet, entries[: page.size])
            more = len(entries) > page.size
            token = encode_token((shown[-1].entry.sequence,), arguments) if more else ""
            return TransactionPage(tuple(shown), token, total)

        return self._database.read(run)

    def _wallet(self, organization_id: str, *, owner: Owner, wallet_id: str) -> Wallet | None:
        # The stored row, whatever has expired since: only it agrees with the entries.
        if wallet_id:
            return self._store.require(organization_id, wallet_id)
        return self._store.of_owners(organization_id, [owner]).get(owner)

    def _shown(self, organization_id: str, wallet: Wallet, entries: Sequence[Entry]) -> list[Transaction]:
        if not entries:
            return []
        newer = self._store.journal.change_between(
            organization_id,
            wallet.wallet_id,
            after=entries[0].sequence,
            until=wallet.entry_sequence,
        )
        return with_balances(wallet.posted - newer, entries)
