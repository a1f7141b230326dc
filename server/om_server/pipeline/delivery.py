"""What one look at the log means for one edge, and the cursor by which an edge goes on after a break."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from om_server.core.sequence_range import SequenceRange, merged
from om_server.storage.change import Change, ChangeKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from om_server.storage.change import Settled


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far an edge has come: every change of a transaction below the floor, in one life of the store.

    What is above it may be told a second time, which harms nobody: every change says "look again".
    """

    incarnation: str
    floor: int

    def __str__(self) -> str:
        return f"{self.incarnation}.{self.floor}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Read a cursor; None for what no server wrote."""
        incarnation, _, floor = text.rpartition(".")
        if not incarnation or not floor.isascii() or not floor.isdigit():
            return None
        return cls(incarnation, int(floor))


@dataclass(frozen=True, slots=True)
class Delivery:
    """What an edge is told at once. Without any change it is a sign of life."""

    #: Where an edge resumes that has not read the whole delivery, and one that has.
    before: Cursor
    after: Cursor
    changes: tuple[Change, ...] = ()
    settled: Settled = field(default_factory=dict)
    #: The first one after `join`: it does not depend on those before it.
    first: bool = False
    #: Something before it is not known any more.
    lost: bool = False
    #: Which life the queue is in; empty if it has none of its own, and while that is not known.
    queue: str = ""

    @property
    def size(self) -> int:
        """How many messages it makes, at least."""
        return max(1, len(self.changes) + len(self.settled) + self.lost)


class Dispatch:
    """Sorts what was read in one look by whom it concerns."""

    def __init__(self, changes: Iterable[Change], *, before: Cursor, after: Cursor) -> None:
        self._before = before
        self._after = after
        self._own: dict[str, list[Change]] = {}
        shared: dict[tuple[str, str, str], Change] = {}
        for change in changes:
            if change.edge_id:
                self._own.setdefault(change.edge_id, []).append(change)
            else:
                # Of many changes of one thing the last says all.
                shared[change.kind, change.organization_id, change.subject_id] = change
        self._shared = tuple(shared.values())

    def delivery(self, edge_id: str) -> Delivery | None:
        """Return what concerns an edge; None if nothing does."""
        own = self._own.get(edge_id, ())
        if not own and not self._shared:
            return None
        plain = tuple(change for change in own if change.kind is not ChangeKind.SETTLED)
        return Delivery(self._before, self._after, (*self._shared, *plain), settled_of(own))


def settled_of(changes: Sequence[Change]) -> Mapping[int, tuple[SequenceRange, ...]]:
    """Return the ranges by epoch that changes of one edge report as settled."""
    found: dict[int, list[SequenceRange]] = {}
    for change in changes:
        if change.kind is ChangeKind.SETTLED:
            found.setdefault(change.edge_epoch, []).append(SequenceRange(change.value, change.last_sequence))
    return {epoch: merged(ranges) for epoch, ranges in found.items()}
