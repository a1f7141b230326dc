"""Where edges are kept: who resynced last. They belong to no organization and hold nothing of one."""

from om_server.storage.database import Database
from om_server.wallet.leases.lease import EdgeIdentity
from om_server.wallet.record import EdgeRow


class EdgeStore:
    """The registered process of each edge; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def registered(self, edge_id: str, *, for_update: bool) -> EdgeIdentity | None:
        """Return who resynced last for an edge. Inside a transaction its row stays locked.

        Who takes a lease shares the lock, so that a resync sees every lease of the epoch that it ends.
        """
        query = EdgeRow.select().where(EdgeRow.edge_id == edge_id)
        if self._database.supports_row_locks and self._database.engine.in_transaction():
            # Peewee takes the clause as text; its stubs know only the plain one.
            query = query.for_update("FOR UPDATE" if for_update else "FOR SHARE")  # type: ignore[arg-type]
        row = query.first()
        return EdgeIdentity(row.edge_id, row.edge_epoch, row.instance) if row else None

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
