"""How a response body falls into JSON documents: one whole body, or one streamed array of objects.

Server-sent events are in sse.py. Every framing takes bytes in any chunks, holds at most its limit, and says
how many documents it had to give up.
"""

from __future__ import annotations

import re
from typing import Protocol

BODY_MAX = 16 << 20

_OUTSIDE_STRING = re.compile(rb'["{}]')
_INSIDE_STRING = re.compile(rb'["\\]')
_QUOTE = b'"'
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
