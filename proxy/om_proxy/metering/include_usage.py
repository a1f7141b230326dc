"""OpenAI chat streams report usage only when asked. We ask, and keep the extra answer from the client.

The request is edited as text, so every other byte of it stays; the response loses exactly one event.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from om_proxy.json_text import insert_first, last_member, replace
from om_proxy.metering.reading import parse_object

HELD_MAX = 64 << 10

_OPTIONS = "stream_options"
_ASKED = b'"include_usage":true'
# With include_usage every other event has `"usage":null`. Inside of strings the quotes are escaped. What
# follows is not looked for: it may stand on the next `data` line of the event.
USAGE_OBJECT = re.compile(rb'"usage"(?!\s*:\s*null)')
# A choice in the list: the event has content, so it is not the extra one.
_HAS_CHOICE = re.compile(rb'"choices"\s*:\s*\[\s*\{')
_DATA = b"data:"
_END = b"\n\n"


def ask_for_usage(body: bytes, document: Mapping[str, object]) -> bytes | None:
    """Add `stream_options.include_usage` to a chat request; None where it is there, or the body is odd.

    `document` is the parsed body. A client that says false still gets what it asked for: it is not shown the
    extra event.
    """
    if document.get("stream") is not True:
        return None
    options = document.get(_OPTIONS)
    if _OPTIONS not in document:
        return insert_first(body, b'"stream_options":{' + _ASKED + b"}")
    if options is None:
        member = last_member(body, _OPTIONS)
        return None if member is None else replace(body, member, value=b"{" + _ASKED + b"}")
    member = last_member(body, _OPTIONS) if isinstance(options, dict) else None
    if member is None or not isinstance(options, dict):
        return None
    if "include_usage" not in options:
        return insert_first(body, _ASKED, start=member.start)
    if options["include_usage"] is not None and options["include_usage"] is not False:
        return None
    flag = last_member(body, "include_usage", start=member.start)
    return None if flag is None else replace(body, flag, value=b"true")


class UsageEventFilter:
    """Removes the extra usage event from a stream and passes every other byte on.

    Bytes are held only from the start of an event until it is clear that the event is another one, which is
    at its first choice. An event whose start was passed on is passed on whole.
    """

    def __init__(self) -> None:
        self.removed = 0
        self._held = bytearray()
        self._passing = False  # The rest of this event goes straight through.
        self._in_comment = False
        self._at_line_start = True
        self._after_cr = False
        self._removed_last = False

    @property
    def held(self) -> bytes:
        """What was taken and not passed on yet."""
        return bytes(self._held)

    def feed(self, chunk: bytes) -> bytes:
        """Give what can be passed on now."""
        if self._is_plain(chunk):
            return chunk
        passed = bytearray()
        start = 0 if self._is_between else _behind(chunk.find(_END), len(chunk))
        self._feed(chunk[:start], passed)
        # Whole events before the first with a usage are decided together.
        usage = USAGE_OBJECT.search(chunk, start)
        end = _behind(chunk.rfind(_END, start, len(chunk) if usage is None else usage.start()), start)
        if self._is_between:
            passed += chunk[start:end]
        else:
            end = start
        self._feed(chunk[end:], passed)
        if self._held and not self._may_be_extra():
            self._release(passed)
        return bytes(passed)

    def _feed(self, chunk: bytes, passed: bytearray) -> None:
        for piece in chunk.splitlines(keepends=True):
            if self._after_cr and piece == b"\n":
                self._after_cr = False
                # The second half of a CRLF goes where its first half went.
                if not self._removed_last:
                    self._target(passed).extend(piece)
            else:
                self._take(piece, passed)

    def finish(self) -> bytes:
        """Give what is still held at the end, unless it is the extra event without its empty line."""
        held = bytes(self._held)
        self._held.clear()
        if _is_extra(held):
            self.removed += 1
            return b""
        return held

    def _is_plain(self, chunk: bytes) -> bool:
        """Whether the chunk is whole events without any usage: the usual case, decided without splitting."""
        return self._is_between and chunk.endswith(_END) and USAGE_OBJECT.search(chunk) is None

    @property
    def _is_between(self) -> bool:
        """Whether every event that was begun has ended."""
        return not (self._held or self._passing or self._after_cr) and self._at_line_start

    def _take(self, piece: bytes, passed: bytearray) -> None:
        """Take a line or a part of one."""
        if self._at_line_start:
            # A comment says nothing about the event that it stands before.
            self._in_comment = piece.startswith(b":") and not self._held
        ended = piece.endswith((b"\n", b"\r"))
        blank = self._at_line_start and piece in {b"\n", b"\r", b"\r\n"}
        self._at_line_start = ended
        self._after_cr = piece.endswith(b"\r")
        self._removed_last = False
        if self._in_comment:
            passed += piece
            return
        (passed if self._passing else self._held).extend(piece)
        if blank:
            self._end_event(passed)

    def _end_event(self, passed: bytearray) -> None:
        if not self._passing and _is_extra(bytes(self._held)):
            self.removed += 1
            self._removed_last = True
        else:
            passed += self._held
        self._held.clear()
        self._passing = False

    def _target(self, passed: bytearray) -> bytearray:
        return self._held or passed

    def _may_be_extra(self) -> bool:
        return (
            _DATA.startswith(self._held[: len(_DATA)])
            and len(self._held) <= HELD_MAX
            and _HAS_CHOICE.search(self._held) is None
        )

    def _release(self, passed: bytearray) -> None:
        passed += self._held
        self._held.clear()
        self._passing = True


def _behind(found: int, otherwise: int) -> int:
    """Where the end of an event that was found is over."""
    return otherwise if found < 0 else found + len(_END)


def _is_extra(event: bytes) -> bool:
    """Whether an event holds usage and no choice. One with an error is the client's to see."""
    if not event.startswith(_DATA) or USAGE_OBJECT.search(event) is None:
        return False
    lines = event.splitlines()
    data = b"\n".join(line[len(_DATA) :] for line in lines if line.startswith(_DATA))
    chunk = parse_object(data.strip())
    return (
        chunk is not None
        and chunk.get("choices") == []
        and isinstance(chunk.get("usage"), dict)
        and not chunk.get("error")
    )
