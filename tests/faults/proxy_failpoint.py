"""Where a process of the proxy can be made to die, or its disk to fail. Nothing of this is in the product."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import peewee

from om_proxy.edge.report import Reporter
from om_proxy.journal import segment
from om_proxy.journal.journal import Journal
from om_proxy.journal.segment import SegmentWriter
from tests.faults.failpoint import Fault, Fuse, _after, _before, put

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def plant(fault: Fault) -> None:
    """Make the point dangerous in this process."""
    _POINTS[fault.point](Fuse(fault))


def _no_room(_: Fuse) -> None:
    def allocate(descriptor: int, room: int) -> None:
        # The first segment of a start is there; no other can be had.
        del descriptor, room
        if _allocated:
            raise OSError(errno.ENOSPC, "no space left")
        _allocated.append(1)

    put(segment, "_allocate", allocate)


_allocated: list[int] = []


def _write_fails(fuse: Fuse) -> None:
    """The n-th write of the journal after its start fails."""
    append = SegmentWriter.append

    def failing(writer: SegmentWriter, record: bytes) -> None:
        try:
            fuse.burn()
        except peewee.OperationalError:
            raise OSError(errno.EIO, "a disk that fails") from None
        append(writer, record)

    put(SegmentWriter, "append", failing)


def _sync_fails(fuse: Fuse) -> None:
    def failing(descriptor: int) -> None:
        del descriptor
        try:
            fuse.burn()
        except peewee.OperationalError:
            raise OSError(errno.EIO, "a disk that fails") from None

    put(os, "fsync", failing)


_POINTS: Mapping[str, Callable[[Fuse], None]] = {
    "before intent": lambda fuse: _before(Journal, "intend", fuse.burn),
    "after intent": lambda fuse: _after(Journal, "intend", fuse.burn, always=True),
    "after sent": lambda fuse: _after(Journal, "sent", fuse.burn, always=True),
    "after checkpoint": lambda fuse: _after(Journal, "checkpoint", fuse.burn, always=True),
    "before outcome": lambda fuse: _before(Journal, "conclude", fuse.burn),
    "after outcome": lambda fuse: _after(Journal, "conclude", fuse.burn, always=True),
    "before shipping": lambda fuse: _before(Reporter, "_ship", fuse.burn),
    "no room": _no_room,
    "write fails": _write_fails,
    "sync fails": _sync_fails,
}
