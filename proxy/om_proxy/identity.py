"""Who this edge is, and the ids of the calls that it admits."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass

from om.edge.v1 import edge_service_pb2 as pb

_ID_BYTES = 16


def _random_id(prefix: str) -> str:
    """Make an id of 26 lower-case characters."""
    text = base64.b32encode(secrets.token_bytes(_ID_BYTES)).decode().rstrip("=").lower()
    return f"{prefix}_{text}"


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
