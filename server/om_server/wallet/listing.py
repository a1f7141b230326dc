"""Pages of wallets, and of what happened in one."""

from collections.abc import Sequence
from dataclasses import dataclass

from om_server.core.clock import Clock
from om_server.core.errors import PageTokenInvalid
from om_server.core.page import PageRequest, decode_token, encode_token
from om_server.storage.database import Database
from om_server.wallet.entry import Entry
from om_server.wallet.holds.escrow import Escrow
from om_server.wallet.leases.lease import Lease
from om_server.wallet.store import WalletStore
from om_server.wallet.wallet import OwnerKind, Wallet


@dataclass(frozen=True, slots=True)
class WalletPage:
    """Wallets, oldest first. An empty token is the end."""

    wallets: tuple[Wallet, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Entries of one wallet, newest first, and how many there are in all."""

    entries: tuple[Entry, ...]
    next_page_token: str
    total_size: int


@dataclass(frozen=True, slots=True)
class LeasePage:
    """Leases of one wallet, newest first, without their slices."""

    leases: tuple[Lease, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class SuspensePage:
    """What an owner has to decide about, oldest first."""

    suspense: tuple[Escrow, ...]
    next_page_token: str


class Listing:
    """Reads pages; a token belongs to the list and the arguments that it came from."""

    def __init__(self, database: Database, store: WalletStore, *, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock

    def wallets(
        self,
        organization_id: str,
        *,
        kind: OwnerKind | None = None,
        owner_ids: Sequence[str] = (),
        page: PageRequest,
    ) -> WalletPage:
        """List wallets, oldest first; of some owners where they are named."""
        arguments = {"list": "wallets", "kind": kind, "owner_ids": list(owner_ids)}
        cursor = decode_token(page.token, arguments) or ("",)
        after = _text(cursor[0])

        def run() -> list[Wallet]:
            found = self._store.page(
                organization_id, kind, owner_ids=owner_ids, after=after, limit=page.size + 1
            )
            return self._store.as_of(organization_id, found, now=self._clock())

        found = self._database.read(run)
        shown = tuple(found[: page.size])
        more = len(found) > page.size
        return WalletPage(shown, encode_token((shown[-1].wallet_id,), arguments) if more else "")

    def entries(self, organization_id: str, wallet_id: str, *, page: PageRequest) -> EntryPage:
        """List the movements of a wallet, newest first."""
        arguments = {"list": "entries", "wallet_id": wallet_id}
        cursor = decode_token(page.token, arguments)

        def run() -> EntryPage:
            total = self._store.require(organization_id, wallet_id).entry_sequence
            # Positions have no gaps, so that both the total and the skip are arithmetic.
            first = (_number(cursor[0]) if cursor else total + 1) - page.skip
            entries = self._store.journal.before(organization_id, wallet_id, sequence=first, limit=page.size)
            more = entries and entries[-1].sequence > 1
            token = encode_token((entries[-1].sequence,), arguments) if more else ""
            return EntryPage(tuple(entries), token, total)

        return self._database.read(run)

    def leases(self, organization_id: str, wallet_id: str, *, page: PageRequest) -> LeasePage:
        """List the leases that edges took from a wallet, newest first."""
        arguments = {"list": "leases", "wallet_id": wallet_id}
        cursor = decode_token(page.token, arguments)
        before = (_number(cursor[0]), _text(cursor[1])) if cursor else None

        def run() -> list[Lease]:
            self._store.require(organization_id, wallet_id)
            return self._store.leases.page(organization_id, wallet_id, before=before, limit=page.size + 1)

        found = self._database.read(run)
        shown = tuple(found[: page.size])
        more = len(found) > page.size
        last = (shown[-1].create_time, shown[-1].lease_id) if more else ()
        return LeasePage(shown, encode_token(last, arguments) if more else "")

    def suspense(self, organization_id: str, *, page: PageRequest) -> SuspensePage:
        """List what is in suspense, oldest first."""
        arguments = {"list": "suspense"}
        cursor = decode_token(page.token, arguments)
        after = (_number(cursor[0]), _text(cursor[1])) if cursor else None
        found = self._database.read(
            lambda: self._store.escrows.page(organization_id, after=after, limit=page.size + 1)
        )
        shown = tuple(found[: page.size])
        more = len(found) > page.size
        last = (shown[-1].create_time, shown[-1].escrow_id) if more else ()
        return SuspensePage(shown, encode_token(last, arguments) if more else "")


def _text(part: str | int) -> str:
    if not isinstance(part, str):
        raise PageTokenInvalid
    return part


def _number(part: str | int) -> int:
    if not isinstance(part, int):
        raise PageTokenInvalid
    return part
