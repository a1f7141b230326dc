"""Where edges are kept: who resynced last. They belong to no organization and hold nothing of one."""

from typing import Any

import peewee

from om_server.storage.database import Database
from om_server.storage.statement import Statement, given
from om_server.wallet.leases.lease import EdgeIdentity
from om_server.wallet.record import EdgeRow


class EdgeStore:
    """The registered process of each edge; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine
        query: peewee.ModelSelect[Any] = EdgeRow.select(
            EdgeRow.edge_id, EdgeRow.edge_epoch, EdgeRow.instance
        ).where(EdgeRow.edge_id == given("edge_id"))
        shared = query
        if database.supports_row_locks:
            # Peewee takes the clause as text; its stubs know only the plain one.
            shared = query.for_update("FOR SHARE")  # type: ignore[arg-type]
        self._seen = Statement(database, query)
        self._shared = Statement(database, shared)
        self._locked = Statement(database, database.locked(query))

    def registered(self, edge_id: str, *, for_update: bool) -> EdgeIdentity | None:
        """Return who resynced last for an edge. Inside a transaction its row stays locked.

        Who takes a lease shares the lock, so that a resync sees every lease of the epoch that it ends.
        """
        statement = self._seen
        if self._engine.in_transaction():
            statement = self._locked if for_update else self._shared
        row = statement.row(edge_id=edge_id)
        return EdgeIdentity(*row) if row else None

    def introduce(self, edge: EdgeIdentity, *, boot_id: str, now: int) -> None:
        """Insert an edge that resyncs for the first time; nothing if it is known."""
        EdgeRow.insert(
            edge_id=edge.edge_id,
            edge_epoch=edge.edge_epoch,
            instance=edge.instance,
            boot_id=boot_id,
            resync_time=now,
        ).on_conflict_ignore().execute()

    def register(self, edge: EdgeIdentity, *, boot_id: str, now: int) -> None:
        """Write who resynced; the row is locked."""
        EdgeRow.update(
            edge_epoch=edge.edge_epoch, instance=edge.instance, boot_id=boot_id, resync_time=now
        ).where(EdgeRow.edge_id == edge.edge_id).execute()
