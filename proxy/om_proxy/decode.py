"""Content codings of a response: a copy of the bytes is decoded for the meter, up to a limit.

The client gets the coded bytes as they came. Brotli and Zstandard need libraries that are not installed;
headers.py therefore does not offer them to providers.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from enum import Enum
from typing import Final

READABLE_CODINGS: Final = ("gzip", "x-gzip", "deflate", "identity")
DECODED_MAX = 16 << 20

_PIECE = 64 << 10
_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS
# Bytes that tell zlib from raw deflate; servers send both under the one name.
_DEFLATE_HEAD = 2


class DecodeFault(Enum):
    """Why decoding stopped."""

    UNREADABLE = "unreadable"  # A coding that we cannot read, or bytes that are not in it.
    OVER_LIMIT = "over_limit"


class Decoder:
    """Coded bytes in, plain pieces out; after a fault nothing more comes out."""

    def __init__(self, content_encoding: str = "", limit: int = DECODED_MAX) -> None:
        coding = content_encoding.strip().lower()
        self.fault: DecodeFault | None = None
        self._plain = coding in {"", "identity"}
        self._gzip = coding in {"gzip", "x-gzip"}
        if not self._plain and coding not in READABLE_CODINGS:
            self.fault = DecodeFault.UNREADABLE
        self._left = limit
        self._head = b""
        self._inflate = zlib.decompressobj(_GZIP) if self._gzip else None

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """Give the plain bytes piece by piece, so that a bomb never stands in memory at once."""
        if self._plain:
            yield chunk
        elif self.fault is None:
            try:
                yield from self._inflated(chunk)
            except zlib.error:
                self.fault = DecodeFault.UNREADABLE

    def _inflated(self, chunk: bytes) -> Iterator[bytes]:
        if self._inflate is None:
            self._head += chunk
            if len(self._head) < _DEFLATE_HEAD:
                return
            chunk, self._head = self._head, b""
            self._inflate = zlib.decompressobj(_ZLIB if _is_zlib(chunk) else _RAW)
        if self._inflate.eof and not self._gzip:
            return  # zlib would collect what follows the end without limit.
        full = True
        # A full piece means that zlib may hold more, even where it has taken in every byte.
        while chunk or full:
            piece = self._inflate.decompress(chunk, _PIECE)
            if len(piece) > self._left:
                self.fault = DecodeFault.OVER_LIMIT
                return
            self._left -= len(piece)
            if piece:
                yield piece
            full = len(piece) == _PIECE
            chunk = self._inflate.unconsumed_tail
            if self._inflate.eof:
                chunk = self._next_member()
                full = False

    def _next_member(self) -> bytes:
        """Start on what follows the end of a gzip member; anything else after the end is ignored."""
        rest = self._inflate.unused_data if self._inflate and self._gzip else b""
        if rest:
            self._inflate = zlib.decompressobj(_GZIP)
        return rest


def _is_zlib(head: bytes) -> bool:
    """Tell a zlib header (RFC 1950: method 8, and a checksum of 31) from raw deflate."""
    return head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(head[:_DEFLATE_HEAD]) % 31 == 0
