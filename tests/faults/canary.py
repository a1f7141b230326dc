"""Marks for what nobody may keep, in every form in which it could be kept, and the search for them."""

from __future__ import annotations

import base64
import contextlib
import re
import secrets
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: So much of the front of a secret is too much.
_FRONT = 12
_GZIP = b"\x1f\x8b\x08"
_UNPACKED_MAX = 1 << 20
#: With these a journal keeps room. No form has two in a row; one that has any is slow to search among them.
_ZEROS = re.compile(rb"\0{8,}")


@dataclass(frozen=True, slots=True)
class Canary:
    """One mark, and where it was put in."""

    place: str
    text: str

    @property
    def forms(self) -> Mapping[str, bytes]:
        """Give every form under which it is looked for, by name. What is packed is unpacked by `found`."""
        raw = self.text.encode()
        forms = {
            "raw": raw,
            "hex": raw.hex().encode(),
            "upper hex": raw.hex().upper().encode(),
            "percent": b"".join(b"%%%02X" % byte for byte in raw),
            "url": quote_from_bytes(raw, safe="").encode(),
            "utf-16-le": self.text.encode("utf-16-le"),
            "utf-16-be": self.text.encode("utf-16-be"),
            "json escapes": "".join(f"\\u{ord(letter):04x}" for letter in self.text).encode(),
            "reversed": raw[::-1],
            "front": raw[:_FRONT],
        }
        for shift in range(3):
            # Only what does not depend on the bytes around it.
            coded = base64.b64encode(b"\0" * shift + raw)
            forms[f"base64 {shift}"] = coded[4 if shift else 0 : -4]
        return forms


def new_canary(place: str) -> Canary:
    """Make a mark that occurs nowhere else; its front too."""
    return Canary(place, secrets.token_hex(16))


def found(canaries: list[Canary], data: bytes) -> set[tuple[str, str]]:
    """Give place and form of everything that is in the data, packed parts of it included."""
    pieces = [("", _ZEROS.sub(b"\0\0", data)), *(("gzip: ", piece) for piece in _unpacked(data))]
    return {
        (canary.place, prefix + name)
        for canary in canaries
        for name, form in canary.forms.items()
        for prefix, piece in pieces
        if form in piece
    }


def _unpacked(data: bytes) -> Iterator[bytes]:
    start = data.find(_GZIP)
    while start >= 0:
        with contextlib.suppress(zlib.error):
            yield zlib.decompressobj(31).decompress(data[start : start + _UNPACKED_MAX], _UNPACKED_MAX)
        start = data.find(_GZIP, start + 1)
