"""Records of the journal: how they lie in a file, and how a file that ends badly is read.

A record is its length and CRC, one byte for its kind, and a payload. A segment's unused rest is zeros. A
record that fails its CRC and has no good one behind it was being written when the power went: it never
counted. One that has a good one behind it is damage.
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

#: Length of the payload, CRC-32 of kind and payload, kind.
_HEAD = struct.Struct("<IIB")
_CRC_OF_KIND = tuple(zlib.crc32(bytes((kind,))) for kind in range(256))


class Kind(enum.IntEnum):
    """What a record says. The numbers are on disks: they never change their meaning."""

    #: A segment's first record: whose it is. A `Header`.
    HEADER = 1
    #: A lease was granted. A `LeaseNote`.
    LEASE = 2
    #: A call is about to be made. The event that is reported if its end stays unknown.
    INTENT = 3
    #: The next thing that happens is that its first byte goes upstream. The event's id.
    SENT = 4
    #: A stream may go on: more is set aside for it. The event, with its funding as it now is.
    EXTENDED = 5
    #: How far a stream has come. The event that is reported if nothing more becomes known.
    CHECKPOINT = 6
    #: How a call ended. The event as it is reported.
    OUTCOME = 7
    #: What the edge declares, or has declared, of a lease. A `LeaseNote`.
    CLOSING = 8
    #: The server took the declaration. A `LeaseNote`.
    CLOSED = 9


@dataclass(frozen=True, slots=True)
class Header:
    """Whose segment it is."""

    edge_id: str
    edge_epoch: int


@dataclass(frozen=True, slots=True)
class LeaseNote:
    """Something about one lease; counts and amounts where they are declared."""

    lease_id: str
    final_count: int = 0
    keep_nanos: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """One record and where its bytes end."""

    kind: int
    payload: bytes
    end: int


class Damaged(Exception):
    """A record inside a segment is not what was written. What stood before it is good."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"bad record at offset {offset}")
        self.offset = offset


def pack(kind: Kind, payload: bytes) -> bytes:
    """Write a record."""
    return _HEAD.pack(len(payload), _crc(kind, payload), kind) + payload


def pack_value(kind: Kind, value: Header | LeaseNote) -> bytes:
    """Write a record whose payload is a small value."""
    return pack(kind, orjson.dumps(value))


def read_header(payload: bytes) -> Header:
    """Read whose segment it is. ValueError, TypeError or KeyError for anything else."""
    return Header(**orjson.loads(payload))


def read_note(payload: bytes) -> LeaseNote:
    """Read what is said of a lease."""
    return LeaseNote(**orjson.loads(payload))


def leading(data: bytes) -> Iterator[Record]:
    """Read records from the start, up to the first that is not there in whole."""
    start = 0
    while (record := _record_at(data, start)) is not None:
        yield record
        start = record.end


def scan(data: bytes) -> Iterator[Record]:
    """Read the records of a segment up to its end, or to where the power went; Damaged inside."""
    end = 0
    for record in leading(data):
        yield record
        end = record.end
    used = len(data.rstrip(b"\0"))
    if any(_record_at(data, later) for later in range(end + 1, used)):
        raise Damaged(end)


def salvage(data: bytes) -> Iterator[Record]:
    """Read every good record of a damaged segment, also behind the damage. Takes seconds."""
    start, used = 0, len(data.rstrip(b"\0"))
    while start < used:
        record = _record_at(data, start)
        if record is None:
            start += 1
            continue
        yield record
        start = record.end


def outcomes(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Read the payloads of outcomes and where each ends, from bytes that are known to be good.

    The last end is that of the last whole record, whatever it is; a payload is empty there for any other.
    """
    start, size = 0, len(data)
    while start + _HEAD.size <= size:
        length, _, kind = _HEAD.unpack_from(data, start)
        end = start + _HEAD.size + length
        if end > size or not kind:
            return
        yield (data[start + _HEAD.size : end] if kind == Kind.OUTCOME else b""), end
        start = end


def _record_at(data: bytes, start: int) -> Record | None:
    if start + _HEAD.size > len(data):
        return None
    length, crc, kind = _HEAD.unpack_from(data, start)
    end = start + _HEAD.size + length
    if kind == 0 or end > len(data):
        return None
    payload = data[start + _HEAD.size : end]
    return Record(kind, payload, end) if crc == _crc(kind, payload) else None


def _crc(kind: int, payload: bytes) -> int:
    return zlib.crc32(payload, _CRC_OF_KIND[kind])
