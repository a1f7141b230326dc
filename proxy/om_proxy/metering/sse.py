"""Server-sent events: bytes in, complete data payloads out. No sockets, no clock, no JSON."""

from __future__ import annotations

FRAME_MAX = 1 << 20

_BOM = b"\xef\xbb\xbf"


class SseParser:
    """Split a stream into the data of its events, however the bytes are cut.

    Lines end in LF, CRLF or a lone CR; an event ends at an empty line or with the stream. An event longer
    than the limit is given up and counted, and reading goes on with the next: usage mostly comes last.
    """

    def __init__(self, limit: int = FRAME_MAX) -> None:
        self.given_up = 0
        self._limit = limit
        self._line = bytearray()  # The start of a line whose end has not arrived.
        self._data: list[bytes] = []
        self._size = 0
        self._skipping = False
        self._after_cr = False
        self._at_start = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """Give the data of every event that these bytes complete."""
        if not chunk:
            return []
        if self._after_cr and chunk.startswith(b"\n"):  # The second half of a CRLF that a chunk ended in.
            chunk = chunk[1:]
        found: list[bytes] = []
        self._after_cr = chunk.endswith(b"\r")
        # Of bytes, unlike of str, splitlines takes LF, CR and CRLF and nothing else.
        lines = chunk.splitlines()
        open_end = b"" if not lines or chunk.endswith((b"\n", b"\r")) else lines.pop()
        for line in lines:
            if self._line:
                self._line += line
                self._end_line(bytes(self._line), found)
                self._line.clear()
            else:
                self._end_line(line, found)
        self._line += open_end
        if len(self._line) + self._size > self._limit:
            self._skip()
        return found

    def finish(self) -> list[bytes]:
        """Give the last event where the stream ended without the empty line; it may hold the usage."""
        found: list[bytes] = []
        if self._line:
            self._end_line(bytes(self._line), found)
            self._line.clear()
        self._end_line(b"", found)
        return found

    def _end_line(self, line: bytes, found: list[bytes]) -> None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            self._end_event(found)
        elif len(line) + self._size > self._limit:
            self._skip()
        elif line.startswith(b"data") and not self._skipping:
            value = _value_of_data(line)
            if value is not None:
                self._data.append(value)
                self._size += len(line)

    def _end_event(self, found: list[bytes]) -> None:
        if self._skipping:
            self._skipping = False
            self.given_up += 1
        elif len(self._data) == 1:
            found.append(self._data[0])
        elif self._data:
            found.append(b"\n".join(self._data))
        self._data.clear()
        self._size = 0

    def _skip(self) -> None:
        self._skipping = True
        self._data.clear()
        self._size = 0
        # Whether the line is empty still matters: an empty one ends the event.
        del self._line[1:]


def _value_of_data(line: bytes) -> bytes | None:
    """Read a `data` line; None for a longer field name that only starts so."""
    if line.startswith(b"data: "):
        return line[6:]
    if line.startswith(b"data:"):
        return line[5:]
    return b"" if line == b"data" else None
