"""Who this edge is, and the ids of the calls that it admits."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from om.edge.v1 import edge_service_pb2 as pb

_ID_BYTES = 16
_ID_LETTERS = 26
# Five bits of each random byte choose one of 32 letters.
_LETTERS = b"abcdefghijklmnopqrstuvwxyz234567" * 8


def _random_id(prefix: str) -> str:
    """Make an id of 26 lower-case characters."""
    return f"{prefix}_{secrets.token_bytes(_ID_LETTERS).translate(_LETTERS).decode()}"


def new_event_id() -> str:
    """Name a call; its event has the same id, so that a retry anywhere is the same call."""
    return _random_id("evt")


@dataclass(slots=True)
class Edge:
    """One process and its journal. The epoch grows when the process begins another one."""

    edge_id: str
    edge_epoch: int
    instance: str

    def to_proto(self) -> pb.EdgeIdentity:
        """Write who speaks."""
        return pb.EdgeIdentity(edge_id=self.edge_id, edge_epoch=self.edge_epoch, instance=self.instance)


def new_admit_key() -> str:
    """Name a question for a lease, so that asking it again takes nothing twice."""
    return _random_id("adm")


def new_edge_id() -> str:
    """Name an edge that never was."""
    return _random_id("edg")


def new_edge() -> Edge:
    """Make up an edge that never was."""
    return Edge(new_edge_id(), 1, secrets.token_hex(_ID_BYTES))
