"""One file of the journal: written at its end, read from anywhere, and renamed when nothing of it is open."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from om_proxy.journal.record import Header, Kind, pack_value

#: Room of a segment. A record is never split, so one that is larger gets a segment of its own size.
SEGMENT_BYTES = 8 * 1024 * 1024
_NAME = re.compile(r"(?P<number>\d{10})\.(?P<state>open|settled|damaged)")


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """A segment as a directory lists it."""

    path: Path
    number: int
    state: str

    def renamed(self, state: str) -> SegmentFile:
        """Say what has become of it."""
        path = self.path.with_suffix(f".{state}")
        self.path.rename(path)
        return SegmentFile(path, self.number, state)


def segment_files(directory: Path) -> list[SegmentFile]:
    """List the segments of a directory in the order in which they were written."""
    found = [
        SegmentFile(path, int(name["number"]), name["state"])
        for path in directory.iterdir()
        if (name := _NAME.fullmatch(path.name))
    ]
    return sorted(found, key=lambda file: file.number)


class SegmentWriter:
    """The end of one segment. The room is taken at once, so that what is begun can be finished."""

    def __init__(self, directory: Path, number: int, *, header: Header, room: int) -> None:
        """OSError where the disk has no room for it."""
        self.header = header
        self.file = SegmentFile(directory / f"{number:010d}.open", number, "open")
        self._room = room
        # A thread forces what was written to the disk while the loop ends the segment.
        self._lock = threading.Lock()
        self._closed = False
        self._descriptor = os.open(self.file.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _allocate(self._descriptor, room)
            self.size = 0
            self.append(pack_value(Kind.HEADER, header))
        except OSError:
            os.close(self._descriptor)
            with contextlib.suppress(OSError):
                self.file.path.unlink()
            raise

    def has_room(self, size: int) -> bool:
        """Whether a record of this size fits."""
        return self.size + size <= self._room

    def append(self, record: bytes) -> None:
        """Write a record. OSError means that nothing may be written behind it any more."""
        written = os.pwrite(self._descriptor, record, self.size)
        if written != len(record):
            raise OSError("a record was written in part")
        self.size += written

    def read(self, start: int, size_max: int) -> bytes:
        """Read what was written from an offset on."""
        return os.pread(self._descriptor, min(size_max, self.size - start), start)

    def sync(self) -> None:
        """Force what was written to the disk; from any thread, also when the segment is closed already."""
        with self._lock:
            if not self._closed:
                os.fsync(self._descriptor)

    def drop(self) -> None:
        """Give back the room of a segment in which nothing was written."""
        os.close(self._descriptor)
        self.file.path.unlink()

    def close(self, *, synced: bool = False) -> None:
        """End the file where its last record ends; `synced`, so that nothing of it is in memory alone."""
        with self._lock:
            os.ftruncate(self._descriptor, self.size)
            if synced:
                os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._closed = True


def _allocate(descriptor: int, room: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, room)
    # Where it cannot be asked for, the room is written: a hole in a file is not room.
    elif os.pwrite(descriptor, bytes(room), 0) != room:
        raise OSError("the disk has no room for a segment")
