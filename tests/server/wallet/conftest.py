"""Operations over a real database, whose ledgers are audited at the end of every test."""

import secrets
from collections import Counter
from collections.abc import Iterable, Iterator

import peewee
import pytest

from om_server.core.ids import IdSource
from om_server.storage.database import Database
from om_server.wallet.operations import WalletOperations
from om_server.wallet.record import (
    EscrowRow,
    EscrowSliceRow,
    GrantRow,
    HoldRow,
    HoldSliceRow,
    LeaseRow,
    SliceRow,
    WalletRow,
)
from om_server.wallet.replay import replay
from om_server.wallet.store import WalletStore
from tests.server.wallet.scene import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ids() -> IdSource:
    return IdSource(lambda: 1_763_700_000_000, secrets.token_bytes)


@pytest.fixture
def store(database: Database) -> WalletStore:
    return WalletStore(database)


@pytest.fixture
def wallets(
    database: Database, store: WalletStore, ids: IdSource, clock: FakeClock
) -> Iterator[WalletOperations]:
    operations = WalletOperations(database, store, ids=ids, clock=clock)
    yield operations
    assert [found for found in operations.verify_all() if found.finding] == []
    database.read(lambda: audit(store))


def audit(store: WalletStore) -> None:
    """Every stored column is what the entries add up to, and every lease and hold what its slices hold."""
    suspended = {row.escrow_id for row in EscrowRow.select().where(EscrowRow.suspended)}
    leased, kept = list(SliceRow.select()), list(HoldSliceRow.select())
    escrowed = [piece for piece in EscrowSliceRow.select() if piece.escrow_id not in suspended]
    held = _sums("grant_id", "held", [*leased, *kept, *escrowed])
    grants = list(GrantRow.select())
    for wallet in WalletRow.select():
        replayed = replay(store.journal.all(wallet.organization_id, wallet.wallet_id))
        assert (replayed.available, replayed.held) == (wallet.available, wallet.held)
        assert replayed.receivable == wallet.receivable
        assert replayed.entry_count == wallet.entry_sequence
        own = [grant for grant in grants if grant.wallet_id == wallet.wallet_id]
        assert wallet.available == sum(grant.available for grant in own)
        assert wallet.held == sum(grant.held for grant in own)
        for grant in own:
            assert replayed.grants.get(grant.grant_id, (0, 0)) == (grant.available, grant.held)
            assert grant.held == held[grant.grant_id]
    remaining, amounts = _sums("lease_id", "held", leased), _sums("lease_id", "amount", leased)
    for lease in LeaseRow.select():
        assert lease.remaining == remaining[lease.lease_id]
        assert lease.amount == amounts[lease.lease_id]
    pending = _sums("hold_id", "held", kept)
    for hold in HoldRow.select():
        assert pending[hold.hold_id] == (hold.amount if hold.state == "pending" else 0)


def _sums(name: str, column: str, rows: Iterable[peewee.Model]) -> Counter[str]:
    """What a column adds up to for each value of another."""
    sums: Counter[str] = Counter()
    for row in rows:
        sums[getattr(row, name)] += getattr(row, column)
    return sums
