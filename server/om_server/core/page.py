"""Paging after AIP-158: an opaque token carries the cursor and a checksum of the other arguments."""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from om_server.core.errors import InvalidArgument, PageTokenInvalid

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 200

# Where the next page starts: the sort key of the last row that was returned.
Cursor: TypeAlias = tuple[str | int, ...]
# What else the list was asked for. Page size, token and skip stay out: they may change between pages.
Arguments: TypeAlias = Mapping[str, str | int | bool | Sequence[str] | None]

_TOKEN_CHARACTERS_MAX = 2048


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page is asked for, normalised: a size that may be used as it is."""

    size: int = PAGE_SIZE_DEFAULT
    token: str = ""
    skip: int = 0

    @classmethod
    def of(
        cls, size: int = 0, token: str = "", *, skip: int = 0, size_max: int = PAGE_SIZE_MAX
    ) -> "PageRequest":
        """Normalise what a caller sent: 0 is the default, above the maximum is lowered, negative an error."""
        if size < 0:
            raise InvalidArgument("page_size", "negative")
        if skip < 0:
            raise InvalidArgument("skip", "negative")
        return cls(min(size or PAGE_SIZE_DEFAULT, size_max), token, skip)


def encode_token(cursor: Cursor, arguments: Arguments) -> str:
    """Return the token of the page after the cursor, for a list with these other arguments."""
    text = json.dumps([_checksum(arguments), *cursor], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def decode_token(token: str, arguments: Arguments) -> Cursor | None:
    """Return the cursor of a token; None for the first page, PAGE_TOKEN_INVALID if it is not ours.

    The checksum guards against mistakes, not against forgery: a cursor is a position, never a
    permission, and every query carries the organization besides.
    """
    if not token:
        return None
    if len(token) > _TOKEN_CHARACTERS_MAX:
        raise PageTokenInvalid
    try:
        parts = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise PageTokenInvalid from error
    if not isinstance(parts, list) or not parts or parts[0] != _checksum(arguments):
        raise PageTokenInvalid
    cursor = tuple(parts[1:])
    if not all(map(_plausible, cursor)):
        raise PageTokenInvalid
    return cursor


def _plausible(part: object) -> bool:
    """Tell whether a part can be asked a database for: PostgreSQL takes no zero, and no half of a pair."""
    if type(part) is not str:
        return type(part) is int
    return "\0" not in part and not any("\ud800" <= character <= "\udfff" for character in part)


def _checksum(arguments: Arguments) -> str:
    # An argument that was not given and one that is empty ask for the same list.
    given = {name: value for name, value in arguments.items() if value}
    text = json.dumps(given, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
