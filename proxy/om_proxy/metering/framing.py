"""How a response body falls into JSON documents: one whole body, or one streamed array of objects.

Server-sent events are in sse.py. Every framing takes bytes in any chunks, holds at most its limit, and says
how many documents it had to give up.
"""

from __future__ import annotations

import re
from typing import Protocol

BODY_MAX = 16 << 20
STRING_MAX = 1024

_OUTSIDE_STRING = re.compile(rb'["{}]')
_INSIDE_STRING = re.compile(rb'["\\]')
_QUOTE = b'"'
_BACKSLASH = b"\\"
# A row of numbers behind its first comma or bracket; the last number stays, so that the list is still one.
_NUMBERS = re.compile(rb"(?<=[\[,])(?:\s*-?\d[\d.eE+-]*\s*,){16,}")
_OPEN = b"{"


class Framing(Protocol):
    """Bytes in, complete JSON documents out."""

    given_up: int  # Documents that were longer than the limit.

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes and give the documents that they complete."""
        ...

    def finish(self) -> list[bytes]:
        """Give what was complete but not terminated when the bytes ended."""
        ...


class WholeBody:
    """The body is one document."""

    def __init__(self, limit: int = BODY_MAX) -> None:
        self.given_up = 0
        self._limit = limit
        self._body = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Keep the bytes, until they are more than the limit."""
        if not self.given_up:
            self._body += chunk
            if len(self._body) > self._limit:
                self._body.clear()
                self.given_up = 1
        return []

    def finish(self) -> list[bytes]:
        """Give the body, unless it was empty or too long."""
        return [bytes(self._body)] if self._body else []


class NoDocuments:
    """The body is sound or a picture: nothing in it is read."""

    given_up = 0

    def feed(self, chunk: bytes) -> list[bytes]:  # noqa: ARG002 - see Framing.
        """Give nothing."""
        return []

    def finish(self) -> list[bytes]:
        """Give nothing."""
        return []


class SlimBody:
    """The body is one document whose size is that of its images or vectors, which no meter reads.

    Long strings are read as empty ones and long rows of numbers are shortened; what remains is the document
    with everything that is counted, at most its limit.
    """

    def __init__(self, limit: int = BODY_MAX) -> None:
        self.given_up = 0
        self._limit = limit
        self._kept = bytearray()
        self._string: bytearray | None = None  # The string that is being read, and while it is short.
        self._in_string = False
        self._escaped = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Keep what counts, until that is more than the limit."""
        position = 0
        while position < len(chunk) and not self.given_up:
            position = self._in(chunk, position) if self._in_string else self._out(chunk, position)
        return []

    def finish(self) -> list[bytes]:
        """Give the document, unless it was empty or too long."""
        return [bytes(self._kept)] if self._kept else []

    def _out(self, chunk: bytes, position: int) -> int:
        quote = chunk.find(_QUOTE, position)
        end = len(chunk) if quote < 0 else quote + 1
        self._kept += _NUMBERS.sub(b"", chunk[position:end])
        if len(self._kept) > self._limit:
            self._kept.clear()
            self.given_up = 1
        if quote >= 0:
            self._in_string, self._string = True, bytearray()
        return end

    def _in(self, chunk: bytes, position: int) -> int:
        start = position
        ended = False
        if self._escaped:
            self._escaped = False
            position += 1
        else:
            # Searching for one byte is ten times as fast as for one of two.
            quote = chunk.find(_QUOTE, position)
            end = len(chunk) if quote < 0 else quote
            escape = chunk.find(_BACKSLASH, position, end)
            self._escaped = escape >= 0
            ended = quote >= 0 and not self._escaped
            position = escape + 1 if self._escaped else end + ended
        if self._string is not None:
            self._string += chunk[start : min(position, start + STRING_MAX + 1)]
            if len(self._string) > STRING_MAX:
                self._string = None
        if ended:
            self._kept += _QUOTE if self._string is None else self._string
            self._in_string = False
        return position


class JsonLines:
    """Each line of the body is a document. Lines are many, so only one of them is held."""

    def __init__(self, limit: int = BODY_MAX) -> None:
        self.given_up = 0
        self._limit = limit
        self._line = bytearray()
        self._skipping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Give every line that these bytes end, but empty ones."""
        found: list[bytes] = []
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._keep(piece)
            found += self._take()
        self._keep(rest)
        return found

    def finish(self) -> list[bytes]:
        """Give the last line where nothing ends it."""
        return self._take()

    def _keep(self, piece: bytes) -> None:
        if self._skipping:
            return
        self._line += piece
        if len(self._line) > self._limit:
            self._line.clear()
            self._skipping = True

    def _take(self) -> list[bytes]:
        line = bytes(self._line).strip()
        self._line.clear()
        if self._skipping:
            self._skipping = False
            self.given_up += 1
            return []
        return [line] if line else []


class JsonArray:
    """The body is an array whose objects arrive piecemeal; their bounds have nothing to do with chunks.

    Gemini streams so without `alt=sse`. A lone object, which is how an error arrives, counts as well.
    """

    def __init__(self, limit: int = BODY_MAX) -> None:
        self.given_up = 0
        self._limit = limit
        self._object = bytearray()
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._skipping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Give every object of the array that these bytes complete."""
        found: list[bytes] = []
        start = position = 0
        while position < len(chunk):
            if self._in_string:
                position = self._skip_string(chunk, position)
                continue
            match = _OUTSIDE_STRING.search(chunk, position)
            if match is None:
                break
            position = match.end()
            mark = match.group()
            if mark == _QUOTE:
                self._in_string = True
            elif mark == _OPEN:
                if self._depth == 0:
                    start = match.start()
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if self._depth == 0:
                    self._keep(chunk[start:position])
                    found += self._take()
                    start = position
        if self._depth:
            self._keep(chunk[start:])
        return found

    def finish(self) -> list[bytes]:
        """Give nothing: an object without its closing brace is not one."""
        return []

    def _skip_string(self, chunk: bytes, position: int) -> int:
        if self._escaped:
            self._escaped = False
            return position + 1
        match = _INSIDE_STRING.search(chunk, position)
        if match is None:
            return len(chunk)
        if match.group() == _QUOTE:
            self._in_string = False
        else:
            self._escaped = True
        return match.end()

    def _keep(self, piece: bytes) -> None:
        if self._skipping:
            return
        self._object += piece
        if len(self._object) > self._limit:
            self._object.clear()
            self._skipping = True

    def _take(self) -> list[bytes]:
        if self._skipping:
            self._skipping = False
            self.given_up += 1
            return []
        document = bytes(self._object)
        self._object.clear()
        return [document]
