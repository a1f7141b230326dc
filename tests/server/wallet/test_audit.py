"""Verification finds what is changed behind the ledger's back, and names where."""

import itertools
from collections.abc import Callable

import pytest

from om_server.core.errors import NotFound
from om_server.core.ids import IdSource
from om_server.storage.database import Database
from om_server.wallet import audit, audit_store
from om_server.wallet.audit import LedgerAudit, LedgerProof, Verified
from om_server.wallet.audit_store import StoredLedger
from om_server.wallet.chain import chained
from om_server.wallet.charging import Charge
from om_server.wallet.funding import Deposit, Transfer
from om_server.wallet.holds.hold import HoldRequest
from om_server.wallet.leases.lease import EdgeIdentity, LeaseRequest
from om_server.wallet.operations import WalletOperations
from om_server.wallet.record import EntryRow
from om_server.wallet.store import WalletStore
from om_server.wallet.wallet import Owner, OwnerKind
from tests.server.wallet.scene import NONE, FakeClock, empty_book

ORG = "org_1"
ADA, BOB = Owner(OwnerKind.USER, "ada"), Owner(OwnerKind.USER, "bob")


@pytest.fixture
def ledger(database: Database, store: WalletStore, clock: FakeClock) -> Callable[[str], list[Verified]]:
    """A ledger with everything in it, and a way to run statements on it that no trigger sees."""
    numbers = itertools.count(10**20)
    ids = IdSource(lambda: 1_763_700_000_000, lambda count: (next(numbers)).to_bytes(count))
    wallets = WalletOperations(database, store, ids=ids, clock=clock)
    ada = wallets.grant_credits(ORG, Deposit(ADA, 100, "a")).wallet.wallet_id
    bob = wallets.grant_credits(ORG, Deposit(BOB, 100, "b")).wallet.wallet_id
    wallets.create_hold(ORG, HoldRequest(ada, 20, "h"))
    wallets.open_lease(ORG, LeaseRequest(ada, EdgeIdentity("edg", 1, "i"), "key", "hash", 5, 5, 0))
    for number, amount in enumerate((10, 20)):
        wallets.settle_charges(ORG, [Charge("api", f"evt_{number}", amount, wallet_id=ada)])
    wallets.transfer_credits(ORG, Transfer(ada, bob, 10, "t"))
    assert [found.finding for found in wallets.verify_all()] == [None, None]
    assert [found.entry_count for found in wallets.verify_all()] == [6, 2]

    def tamper(statement: str) -> list[Verified]:
        def run() -> None:
            if database.supports_row_locks:
                # Not by altering the table: the copy of the template would be of no use to another test.
                database.engine.execute_sql("SET LOCAL session_replication_role = replica")
            else:
                database.engine.execute_sql("DROP TRIGGER entries_never_change")
                database.engine.execute_sql("DROP TRIGGER entries_never_go")
            for part in statement.split(";"):
                database.engine.execute_sql(part.replace("ADA", ada).replace("BOB", bob).strip())

        database.write(run)
        return [found for found in wallets.verify_all() if found.finding]

    return tamper


_OF = "FROM entries WHERE wallet_id = 'ADA' AND sequence ="
_SWAP = (
    "UPDATE entries SET sequence = 99 WHERE wallet_id = 'ADA' AND sequence = 4;"
    "UPDATE entries SET sequence = 4 WHERE wallet_id = 'ADA' AND sequence = 5;"
    "UPDATE entries SET sequence = 5 WHERE wallet_id = 'ADA' AND sequence = 99"
)


def entry(change: str, sequence: int) -> str:
    return f"UPDATE entries SET {change} WHERE wallet_id = 'ADA' AND sequence = {sequence}"  # noqa: S608 - fixed names


def wallet(change: str) -> str:
    return f"UPDATE wallets SET {change} WHERE wallet_id = 'ADA'"  # noqa: S608 - fixed names


def grants(change: str) -> str:
    return f"UPDATE grants SET {change} WHERE wallet_id = 'ADA' AND NOT credit_line"  # noqa: S608 - fixed names


@pytest.mark.parametrize(
    ("statement", "sequence", "message"),
    [
        (entry("amount = 11", 4), 4, "hash"),
        (entry("description = 'x'", 2), 2, "hash"),
        (entry("event_id = 'evt_9'", 4), 4, "hash"),
        (entry("create_time = create_time + 1", 1), 1, "hash"),
        (entry("entry_hash = ''", 5), 5, "hash"),
        (f"DELETE {_OF} 3", 4, "position 4 where 3"),
        (f"DELETE {_OF} 1", 2, "position 2 where 1"),
        (f"DELETE {_OF} 6", 5, "ends at 5"),
        (_SWAP, 4, "hash"),
        (f"DELETE {_OF} 6; " + wallet("entry_sequence = 5"), 5, "last hash"),
        (wallet("available = available + 1"), 6, "entries make (35, 25, 0)"),
        (wallet("receivable = 1"), 6, "entries make (35, 25, 0)"),
        (wallet("chain_hash = ''"), 6, "last hash"),
        (wallet("entry_sequence = 5"), 5, "last hash"),
        (grants("available = available + 1"), 6, "grant"),
        (grants("held = 0"), 6, "grant"),
        ("UPDATE hold_slices SET held = 19", 6, "19 set aside; the entries make 20"),
        ("UPDATE lease_slices SET held = 0", 6, "0 set aside; the entries make 5"),
        ("UPDATE holds SET state = 'released', captured = 0", 6, "0 set aside; the entries make 20"),
    ],
)
def test_the_first_bad_entry_is_named(
    ledger: Callable[[str], list[Verified]],
    database: Database,
    statement: str,
    sequence: int,
    message: str,
) -> None:
    # A lost half of a transfer shows in its organization as well.
    found = [one for one in ledger(statement) if one.wallet_id]
    assert len(found) == 1
    finding = found[0].finding
    assert finding is not None
    assert message in finding.message
    sql = f"SELECT entry_id {_OF} {sequence}".replace("ADA", found[0].wallet_id)
    ((entry_id,),) = database.read(lambda: database.engine.execute_sql(sql).fetchall())
    assert finding.entry_id == entry_id


def test_entries_after_the_end_are_found(ledger: Callable[[str], list[Verified]]) -> None:
    columns = ", ".join(name for name in EntryRow._meta.sorted_field_names if name != "sequence")
    statement = f"INSERT INTO entries (sequence, {columns}) SELECT 50, {columns} {_OF} 6"
    found = ledger(statement)[0]
    assert found.finding is not None
    assert "after the end of its ledger at 6" in found.finding.message


@pytest.mark.parametrize("organization_id", [ORG, "org_9"])
def test_entries_without_a_wallet_are_found(
    ledger: Callable[[str], list[Verified]], organization_id: str
) -> None:
    columns = ", ".join(EntryRow._meta.sorted_field_names[2:])
    statement = (
        f"INSERT INTO entries (organization_id, wallet_id, {columns})"
        f" SELECT '{organization_id}', 'wal_zzz', {columns} {_OF} 6"
    )
    found = ledger(statement)
    assert [(one.organization_id, one.wallet_id) for one in found if one.wallet_id] == [
        (organization_id, "wal_zzz")
    ]


def test_a_transfer_that_nobody_got_is_found(ledger: Callable[[str], list[Verified]]) -> None:
    found = ledger("DELETE FROM entries WHERE wallet_id = 'BOB' AND sequence = 2")
    assert [one.wallet_id == "" for one in found] == [False, True]
    assert found[1].finding is not None
    assert found[1].finding.message == "its group leaves 10 in clearing"


def test_an_organization_and_a_wallet_can_be_verified_alone(
    wallets: WalletOperations, database: Database
) -> None:
    ada = wallets.grant_credits(ORG, Deposit(ADA, 100, "a")).wallet.wallet_id
    bob = wallets.grant_credits(ORG, Deposit(BOB, 100, "b")).wallet.wallet_id
    wallets.settle_charges(ORG, [Charge("api", "evt", 7, wallet_id=bob)])
    wallets.grant_credits("org_2", Deposit(BOB, 100, "b"))
    assert wallets.verify(ORG).entry_count == 3
    assert [wallets.verify(ORG, wallet_id=one).entry_count for one in (ada, bob)] == [1, 2]
    assert wallets.verify("org_none").entry_count == 0
    for organization_id, wallet_id in (("org_2", ada), (ORG, "wal_none")):
        with pytest.raises(NotFound):
            wallets.verify(organization_id, wallet_id=wallet_id)
    assert [one.organization_id for one in wallets.verify_all()] == [ORG, ORG, "org_2"]


def test_many_wallets_and_long_ledgers_are_read_in_pages(
    wallets: WalletOperations, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_WALLETS", 3)
    monkeypatch.setattr(audit_store, "_ROWS", 4)
    for number in range(10):
        owner = Owner(OwnerKind.USER, f"u{number}")
        wallet = wallets.grant_credits(ORG, Deposit(owner, 100, f"k{number}")).wallet
        charges = [Charge("api", f"{number} {turn}", 1, wallet_id=wallet.wallet_id) for turn in range(number)]
        wallets.settle_charges(ORG, charges)
    found = list(wallets.verify_all())
    assert [one.entry_count for one in found] == [number + 1 for number in range(10)]
    assert wallets.verify(ORG).entry_count == 55
    assert wallets.verify(ORG, wallet_id=found[7].wallet_id).entry_count == 8


def test_a_ledger_that_moves_meanwhile_is_right(
    wallets: WalletOperations, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens between reading the balances and reading the entries is not held against them."""
    ada = wallets.grant_credits(ORG, Deposit(ADA, 100, "a")).wallet.wallet_id
    read = audit_store.AuditStore.ledgers

    def read_then_move(*arguments: object, **named: object) -> list[audit_store.StoredLedger]:
        ledgers = read(*arguments, **named)  # type: ignore[arg-type]
        wallets.settle_charges(ORG, [Charge("api", "evt", 7, wallet_id=ada)])
        wallets.grant_credits(ORG, Deposit(BOB, 5, "b"))
        return ledgers

    monkeypatch.setattr(audit_store.AuditStore, "ledgers", read_then_move)
    assert [(one.entry_count, one.finding) for one in wallets.verify_all()] == [(1, None)]
    monkeypatch.undo()
    assert [one.entry_count for one in LedgerAudit(database).verify_all()] == [2, 1]


def test_entries_from_before_the_chain_have_no_hash(
    database: Database, store: WalletStore, ids: IdSource, clock: FakeClock
) -> None:
    wallets = WalletOperations(database, store, ids=ids, clock=clock)
    ada = wallets.grant_credits(ORG, Deposit(ADA, 100, "a")).wallet.wallet_id
    move = (
        "INSERT INTO wallets (organization_id, wallet_id, owner_kind, owner_id, mode, blocked, available,"
        " held, receivable, credit_limit, entry_sequence, create_time, chain_start)"
        " SELECT 'org_2', wallet_id, owner_kind, owner_id, mode, blocked, available, held, receivable,"
        " credit_limit, entry_sequence, create_time, 1 FROM wallets;"
        "INSERT INTO grants SELECT 'org_2', grant_id, wallet_id, credit_line, amount, available, held,"
        " priority, expire_time, price_currency, price_amount, create_time FROM grants;"
        "INSERT INTO entries SELECT 'org_2', wallet_id, sequence, entry_id, kind, debit_account,"
        " credit_account, amount, grant_id, hold_id, event_source, event_id, group_id, description,"
        " available_after, create_time, '' FROM entries"
    )
    for statement in move.split(";"):
        database.write(lambda statement=statement: database.engine.execute_sql(statement))  # type: ignore[misc]
    wallets.settle_charges("org_2", [Charge("api", "evt", 7, wallet_id=ada)])
    assert [(one.entry_count, one.finding) for one in wallets.verify_all()] == [(1, None), (2, None)]


@pytest.mark.parametrize(
    ("limit", "lines", "message"),
    [(5, {"line_wal"}, ""), (4, {"line_wal"}, "below the credit limit of 4"), (5, set(), "has -5 available")],
)
def test_only_the_credit_line_goes_below_zero_and_only_to_the_limit(
    limit: int, lines: set[str], message: str
) -> None:
    book = empty_book(credit_limit=5)
    book.charge(5, cause=NONE)
    rows = chained(ORG, book.entries, previous="")
    stored = StoredLedger("wal", -5, 0, 0, limit, 1, 0, str(rows[-1][-1]))
    stored.grants, stored.credit_lines = {"line_wal": (-5, 0)}, lines
    proof = LedgerProof(stored)
    proof.follow(rows)  # type: ignore[arg-type]
    finding = proof.conclude()
    assert (finding is None) == (not message)
    assert finding is None or message in finding.message


def test_a_ledger_can_be_verified_inside_a_transaction(wallets: WalletOperations, database: Database) -> None:
    def spend_and_verify() -> int:
        wallet = wallets.grant_credits(ORG, Deposit(ADA, 100, "a")).wallet
        wallets.settle_charges(ORG, [Charge("api", "evt", 7, wallet_id=wallet.wallet_id)])
        report = wallets.verify(ORG)
        assert report.first is None
        return report.entry_count

    assert database.write(spend_and_verify) == 2
