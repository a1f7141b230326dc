"""What edges must know at once, as values: one change, where a reader stands, and what it read."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from om_server.core.sequence_range import SequenceRange

#: What is settled of an edge, by epoch.
Settled: TypeAlias = Mapping[int, tuple[SequenceRange, ...]]


class ChangeKind(enum.StrEnum):
    """What happened; the names are those that the triggers write."""

    KEY_REVOKED = "key_revoked"
    WALLET_CHANGED = "wallet_changed"
    FUNDS_CHANGED = "funds_changed"
    LEASE_RECALLED = "lease_recalled"
    LIMITS_CHANGED = "limits_changed"
    RATE_CARD_CHANGED = "rate_card_changed"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the log.

    `value` is a time for keys, the resolution version for wallets, what is available for funds, and the
    first sequence of what is settled. A change with an edge concerns no other edge.
    """

    #: The transaction that wrote it; on SQLite its place in the log.
    transaction: int
    kind: ChangeKind
    organization_id: str = ""
    subject_id: str = ""
    edge_id: str = ""
    edge_epoch: int = 0
    value: int = 0
    last_sequence: int = 0


@dataclass(frozen=True, slots=True)
class Position:
    """What a reader has read: at least every change of a transaction below `floor`.

    On PostgreSQL the snapshot says exactly which; it is the database's own text.
    """

    floor: int
    snapshot: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader learned, in the order in which it was written, and where it stands now."""

    incarnation: str
    position: Position
    changes: tuple[Change, ...]
    #: There was more than was asked for, and it is not in `changes`.
    cut_off: bool = False
