"""Which positions of edges' journals a transaction settles for good, by edge and epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om_server.core.sequence_range import runs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from om_server.core.event import EdgePosition, Event
    from om_server.core.sequence_range import SequenceRange
    from om_server.storage.change_log import ChangeLog


def by_epoch(positions: Iterable[EdgePosition]) -> dict[tuple[str, int], tuple[SequenceRange, ...]]:
    """Return the fewest ranges for each edge and epoch. A position without a number is in no journal."""
    found: dict[tuple[str, int], list[int]] = {}
    for position in positions:
        if position.sequence > 0:
            found.setdefault((position.edge_id, position.edge_epoch), []).append(position.sequence)
    return {epoch: runs(sequences) for epoch, sequences in sorted(found.items())}


def acknowledge(log: ChangeLog, events: Iterable[Event]) -> None:
    """Write that these events are terminal, new or not, in the transaction that settles them.

    A duplicate is terminal as well: its twin was settled before, or is in this transaction.
    """
    positions = (event.edge for event in events if event.edge is not None)
    for (edge_id, edge_epoch), ranges in by_epoch(positions).items():
        log.note_settled(edge_id, edge_epoch, ranges)
