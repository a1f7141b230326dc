"""Operations over a real database, whose ledgers are audited at the end of every test."""

import secrets
from collections.abc import Iterator

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
    for wallet in WalletRow.select():
        replayed = replay(store.journal.all(wallet.organization_id, wallet.wallet_id))
        assert (replayed.available, replayed.held) == (wallet.available, wallet.held)
        assert replayed.receivable == wallet.receivable
        assert replayed.entry_count == wallet.entry_sequence
        grants = list(GrantRow.select().where(GrantRow.wallet_id == wallet.wallet_id))
        assert wallet.available == sum(grant.available for grant in grants)
        assert wallet.held == sum(grant.held for grant in grants)
        for grant in grants:
            assert replayed.grants.get(grant.grant_id, (0, 0)) == (grant.available, grant.held)
            leased = SliceRow.select().where(SliceRow.grant_id == grant.grant_id)
            kept = HoldSliceRow.select().where(HoldSliceRow.grant_id == grant.grant_id)
            waiting = EscrowSliceRow.select().where(EscrowSliceRow.grant_id == grant.grant_id)
            suspended = {row.escrow_id for row in EscrowRow.select().where(EscrowRow.suspended)}
            escrowed = [piece for piece in waiting if piece.escrow_id not in suspended]
            assert grant.held == sum(piece.held for piece in [*leased, *kept, *escrowed])
    for lease in LeaseRow.select():
        slices = SliceRow.select().where(SliceRow.lease_id == lease.lease_id)
        assert lease.remaining == sum(piece.held for piece in slices)
        assert lease.amount == sum(piece.amount for piece in slices)
    for hold in HoldRow.select():
        pieces = HoldSliceRow.select().where(HoldSliceRow.hold_id == hold.hold_id)
        assert sum(piece.held for piece in pieces) == (hold.amount if hold.state == "pending" else 0)
