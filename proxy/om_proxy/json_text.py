"""Where the members of a JSON object stand in its text, so that one can be edited and the rest stays.

The text must have been parsed before: nothing here checks the grammar.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

_MARK = re.compile(rb'["{}\[\],:]')
_QUOTE = b'"'
_BACKSLASH = ord("\\")
_OPENING = (b"{", b"[")
_CLOSING = (b"}", b"]")
_SPACE = b" \t\r\n"
_END_OF_EMPTY = re.compile(rb"[ \t\r\n]*\}")


@dataclass(frozen=True, slots=True)
class Member:
    """A value of an object: the bytes text[start:end], without the white space around them."""

    start: int
    end: int


def last_member(text: bytes, name: str, *, start: int = 0) -> Member | None:
    """Find the value of a name in the object that starts at or after `start`.

    Of several members with the name the last is given, because parsers take that one.
    """
    depth = 0
    key: bytes | None = None
    value_start = 0
    found: Member | None = None
    for mark, at, end in _tokens(text, start):
        if mark in _OPENING:
            depth += 1
        elif mark in _CLOSING:
            depth -= 1
        if depth > 1:
            continue
        if mark == b":":
            value_start = end
        elif mark == b"," or depth == 0:
            if key is not None and _is_name(key, name):
                found = _trimmed(text, Member(value_start, at))
            key = None
            if depth == 0:
                break
        elif mark == _QUOTE and key is None:
            key = text[at:end]
    return found


def insert_first(text: bytes, member: bytes, *, start: int = 0) -> bytes:
    """Put a member at the front of the object that starts at or after `start`."""
    inside = text.index(b"{", start) + 1
    comma = b"" if _END_OF_EMPTY.match(text, inside) else b","
    return text[:inside] + member + comma + text[inside:]


def replace(text: bytes, member: Member, *, value: bytes) -> bytes:
    """Put another value in a member's place."""
    return text[: member.start] + value + text[member.end :]


def without(text: bytes, name: str) -> bytes:
    """Take every member with a name out of the outermost object: each with one comma, and no other byte."""
    removed: list[tuple[int, int]] = []
    comma_before: tuple[int, int] | None = None  # Of what stays.
    for member, named, end in _members(text, name):
        is_last = text[end : end + 1] != b","
        if named:
            removed.append((member.start, member.end))
            if not is_last:
                removed.append((end, end + 1))
            elif comma_before is not None:
                removed.append(comma_before)
        elif not is_last:
            comma_before = (end, end + 1)
    kept, position = [], 0
    for start, end in sorted(removed):
        kept.append(text[position:start])
        position = end
    return b"".join((*kept, text[position:]))


def _members(text: bytes, name: str) -> Iterator[tuple[Member, bool, int]]:
    """Give the members of the outermost object, whether each has the name, and where it is followed."""
    depth = 0
    key: tuple[int, int] | None = None
    for mark, at, end in _tokens(text, 0):
        if mark in _OPENING:
            depth += 1
        elif mark in _CLOSING:
            depth -= 1
        if mark == _QUOTE and key is None:
            key = at, end
        elif key is not None and ((mark == b"," and depth == 1) or depth == 0):
            yield _trimmed(text, Member(key[0], at)), _is_name(text[slice(*key)], name), at
            key = None


def _tokens(text: bytes, start: int) -> Iterator[tuple[bytes, int, int]]:
    """Give strings and punctuation, with where they start and end; other values need no token."""
    position = start
    while (match := _MARK.search(text, position)) is not None:
        at, position = match.span()
        if match.group() == _QUOTE:
            position = _string_end(text, position)
        yield match.group(), at, position


def _string_end(text: bytes, position: int) -> int:
    """Find the end of a string from inside of it. Searching for quotes is fast on megabytes of base64."""
    while True:
        quote = text.index(_QUOTE, position)
        position = quote + 1
        slashes = quote
        while text[slashes - 1] == _BACKSLASH:
            slashes -= 1
        if (quote - slashes) % 2 == 0:
            return position


def _is_name(key: bytes, name: str) -> bool:
    if b"\\" not in key:
        return key[1:-1] == name.encode()
    unescaped: object = orjson.loads(key)
    return unescaped == name


def _trimmed(text: bytes, member: Member) -> Member:
    start, end = member.start, member.end
    while text[start] in _SPACE:
        start += 1
    while text[end - 1] in _SPACE:
        end -= 1
    return Member(start, end)
