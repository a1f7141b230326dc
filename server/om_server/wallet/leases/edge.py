"""The life of an edge: which epoch and which process of it may take leases."""

from om_server.core.errors import Code, DomainError
from om_server.wallet.leases.lease import EdgeIdentity


class EdgeEpochStale(DomainError):
    """An older epoch, or another process of this epoch, speaks for the edge."""

    code = Code.FAILED_PRECONDITION
    reason = "EDGE_EPOCH_STALE"

    def __init__(self, edge: EdgeIdentity) -> None:
        super().__init__(
            f"edge {edge.edge_id} has moved on from epoch {edge.edge_epoch} of this process",
            edge_id=edge.edge_id,
            edge_epoch=str(edge.edge_epoch),
        )


class EdgeNotResynced(DomainError):
    """The edge has to resync in this epoch before it may ask for money."""

    code = Code.FAILED_PRECONDITION
    reason = "EDGE_NOT_RESYNCED"

    def __init__(self, edge: EdgeIdentity) -> None:
        super().__init__(f"edge {edge.edge_id} has not resynced in this epoch", edge_id=edge.edge_id)


def require_successor(edge: EdgeIdentity, registered: EdgeIdentity) -> None:
    """Refuse who may not resync: a lower epoch, or another process with the same epoch."""
    if edge.edge_epoch < registered.edge_epoch:
        raise EdgeEpochStale(edge)
    if edge.edge_epoch == registered.edge_epoch and edge.instance != registered.instance:
        raise EdgeEpochStale(edge)


def require_current(edge: EdgeIdentity, registered: EdgeIdentity | None) -> None:
    """Refuse who may not take a lease: anybody but the process that resynced last."""
    if registered is None or edge.edge_epoch > registered.edge_epoch:
        raise EdgeNotResynced(edge)
    if edge != registered:
        raise EdgeEpochStale(edge)
