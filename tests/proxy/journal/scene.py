"""A journal in a directory of its own, and calls that it writes down."""

from __future__ import annotations

from pathlib import Path

from om.type.v1 import event_pb2
from om_proxy.journal.home import Home
from om_proxy.journal.journal import Journal
from om_proxy.journal.reader import Cursor
from om_proxy.journal.segment import SEGMENT_BYTES

BOOT = "one life of the machine"


def journal_in(
    path: Path,
    *,
    boot_id: str = BOOT,
    synced: bool = False,
    segment_bytes: int = SEGMENT_BYTES,
    now: float = 0.0,
) -> Journal:
    return Journal(
        Home.enter(path, boot_id=boot_id, synced=synced), segment_bytes=segment_bytes, now=lambda: now
    )


def killed(journal: Journal) -> None:
    """What is left of it when its process is killed: the lock goes, nothing is closed."""
    journal.home.leave()


def event_of(
    name: str, leases: dict[str, int] | None = None, *, kept: int | None = None
) -> event_pb2.UsageEvent:
    """What a call reports if nothing more becomes known; `kept` of each lease, else the whole bound."""
    event = event_pb2.UsageEvent(event_id=name, outcome=event_pb2.OUTCOME_UNKNOWN)
    for lease_id, bound in (leases or {}).items():
        event.funding.add(
            lease_id=lease_id, bound_nanos=bound, retained_nanos=bound if kept is None else kept
        )
    return event


def outcome_of(name: str, leases: dict[str, int] | None = None, *, kept: int = 0) -> event_pb2.UsageEvent:
    event = event_of(name, leases, kept=kept)
    event.outcome = event_pb2.OUTCOME_CHARGED
    return event


def shipped(journal: Journal, *, count_max: int = 500) -> list[event_pb2.UsageEvent]:
    """Every outcome in the order in which it would be shipped."""
    cursor, events = Cursor(), []
    while (part := journal.read(cursor, count_max=count_max, size_max=10**6)) is not None:
        read = [event_pb2.UsageEvent.FromString(event) for event in part.events]
        positions = list(range(part.first_sequence, part.last_sequence + 1))
        assert [event.sequence for event in read] == positions
        events += read
        cursor = part.following
    return events


def settle_all(journal: Journal) -> None:
    for span in journal.spans():
        journal.settle(span.header.edge_epoch, [(span.first_sequence, span.last_sequence)])


def segments(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir() if file.name[0].isdigit())
