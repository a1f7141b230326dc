"""What an audit reads: the stored balances of many wallets at one moment, and the journal in long pages."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from om_server.core.money import AMOUNT_MAX
from om_server.storage.database import Database
from om_server.wallet.record import EntryRow
from om_server.wallet.replay import JournalRow

T = TypeVar("T")

#: Rows of the journal in one page: enough that the statement costs nothing, a few megabytes of memory.
_ROWS = 5_000
_COLUMNS = ", ".join(EntryRow._meta.sorted_field_names)  # noqa: SLF001


@dataclass(slots=True)
class StoredLedger:
    """The stored columns of a wallet, its grants as (available, held), and its open holds and leases."""

    wallet_id: str
    available: int
    held: int
    receivable: int
    credit_limit: int
    entry_sequence: int
    chain_start: int
    chain_hash: str
    grants: dict[str, tuple[int, int]] = field(default_factory=dict)
    credit_lines: set[str] = field(default_factory=set)
    holds: dict[str, int] = field(default_factory=dict)


class AuditStore:
    """Reads whole ledgers with plain statements: a model for each row would take most of the time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._mark = "%s" if database.supports_row_locks else "?"

    def next_organization(self, after: str) -> str | None:
        """Return the first organization above `after` that has a wallet or an entry."""
        found = [
            self._rows(f"SELECT MIN(organization_id) FROM {table} WHERE organization_id > ?", after)[0][0]  # noqa: S608 - fixed names
            for table in ("wallets", "entries")
        ]
        return min((organization_id for organization_id in found if organization_id), default=None)

    def ledgers(
        self, organization_id: str, *, after: str, limit: int, wallet_id: str = ""
    ) -> list[StoredLedger]:
        """Return wallets with ids above `after`, or the one that is named, all as of one moment."""

        def run() -> list[StoredLedger]:
            with self._snapshot():
                return self._ledgers(organization_id, after, limit=limit, wallet_id=wallet_id)

        return self._database.read(run)

    def entries(
        self, organization_id: str, *, after: str, last: str, wallet_id: str = ""
    ) -> Iterator[list[JournalRow]]:
        """Yield the entries of wallets with ids above `after`, up to and with `last` if that is not empty.

        Or those of the one wallet that is named. They are in order, wallet after wallet. Each page is a
        read of its own: entries never change.
        """
        last = wallet_id or last
        bound, ends = (" AND wallet_id <= ?", (last,)) if last else ("", ())
        sql = (
            f"SELECT {_COLUMNS} FROM entries WHERE organization_id = ? AND (wallet_id, sequence) > (?, ?)"  # noqa: S608 - fixed names
            f"{bound} ORDER BY wallet_id, sequence LIMIT {_ROWS}"
        )
        above, sequence = (wallet_id, -AMOUNT_MAX) if wallet_id else (after, AMOUNT_MAX)
        while True:
            rows: list[JournalRow] = self._rows(sql, organization_id, above, sequence, *ends)
            if not rows:
                return
            yield rows
            above, sequence = rows[-1][1], rows[-1][2]

    def entry_sequence(self, organization_id: str, wallet_id: str) -> int | None:
        """Return how many entries a wallet has by now; None if there is no such wallet."""
        sql = "SELECT entry_sequence FROM wallets WHERE organization_id = ? AND wallet_id = ?"
        rows = self._rows(sql, organization_id, wallet_id)
        return rows[0][0] if rows else None

    def unbalanced_group(self, organization_id: str) -> tuple[str, int] | None:
        """Return the first group that left something in clearing, and how much."""
        amount = "SUM(CASE WHEN credit_account = 'clearing' THEN amount ELSE -amount END)"
        sql = (
            f"SELECT group_id, {amount} FROM entries WHERE organization_id = ?"  # noqa: S608 - fixed names
            " AND (debit_account = 'clearing' OR credit_account = 'clearing')"
            f" GROUP BY group_id HAVING {amount} <> 0 ORDER BY group_id LIMIT 1"
        )
        rows = self._rows(sql, organization_id)
        return (rows[0][0], int(rows[0][1])) if rows else None

    def _ledgers(self, organization_id: str, after: str, *, limit: int, wallet_id: str) -> list[StoredLedger]:
        which, argument = ("wallet_id = ?", wallet_id) if wallet_id else ("wallet_id > ?", after)
        wallets = self._rows(
            "SELECT wallet_id, available, held, receivable, credit_limit, entry_sequence, chain_start,"  # noqa: S608 - fixed names
            f" chain_hash FROM wallets WHERE organization_id = ? AND {which}"
            f" ORDER BY wallet_id LIMIT {limit}",
            organization_id,
            argument,
        )
        ledgers = {row[0]: StoredLedger(*row) for row in wallets}
        if not ledgers:
            return []
        span = (organization_id, wallets[0][0], wallets[-1][0])
        grants = "SELECT wallet_id, grant_id, available, held, credit_line FROM grants"
        for owner, grant_id, available, held, credit_line in self._rows(
            f"{grants} WHERE organization_id = ? AND wallet_id BETWEEN ? AND ?", *span
        ):
            ledgers[owner].grants[grant_id] = (available, held)
            if credit_line:
                ledgers[owner].credit_lines.add(grant_id)
        for owner, hold_id, held in [*self._holds(*span), *self._leases(*span), *self._escrows(*span)]:
            holds = ledgers[owner].holds
            holds[hold_id] = holds.get(hold_id, 0) + held
        return list(ledgers.values())

    def _holds(self, *span: str) -> list[Any]:
        return self._rows(
            "SELECT s.wallet_id, h.hold_id, s.held FROM holds h JOIN hold_slices s"
            " ON s.organization_id = h.organization_id AND s.hold_id = h.hold_id"
            " WHERE h.state = 'pending' AND h.organization_id = ?"
            " AND h.wallet_id BETWEEN ? AND ? AND s.held > 0",
            *span,
        )

    def _leases(self, *span: str) -> list[Any]:
        # A lease may span wallets, so that its slices say where it holds, not its own wallet.
        return self._rows(
            "SELECT s.wallet_id, l.lease_id, s.held FROM leases l JOIN lease_slices s"
            " ON s.organization_id = l.organization_id AND s.lease_id = l.lease_id"
            " WHERE l.state NOT IN ('closed', 'resolved') AND l.organization_id = ?"
            " AND s.wallet_id BETWEEN ? AND ? AND s.held > 0",
            *span,
        )

    def _escrows(self, *span: str) -> list[Any]:
        # In suspense or held: either is set aside under the escrow's name.
        return self._rows(
            "SELECT s.wallet_id, s.escrow_id, s.held FROM escrow_slices s WHERE s.organization_id = ?"
            " AND s.wallet_id BETWEEN ? AND ? AND s.held > 0",
            *span,
        )

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Let every statement see the same moment, so that no balance is torn by a commit between them."""
        engine = self._database.engine
        if engine.in_transaction():
            yield
            return
        with engine.atomic():
            if self._database.supports_row_locks:
                engine.execute_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield

    def _rows(self, sql: str, *arguments: str | int) -> list[Any]:
        run: Callable[[], list[Any]] = lambda: list(  # noqa: E731
            self._database.engine.execute_sql(sql.replace("?", self._mark), arguments).fetchall()
        )
        return self._database.read(run)
