"""Content codings of a response: a copy of the bytes is decoded for the meter, up to a limit.

The client gets the coded bytes as they came.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

from om_proxy.metering.codec import CODEC_ERRORS, Brotli, Codec, Inflate, Zstandard

READABLE_CODINGS: Final = ("gzip", "x-gzip", "deflate", "br", "zstd", "identity")
DECODED_MAX = 16 << 20


class DecodeFault(Enum):
    """Why decoding stopped."""

    UNREADABLE = "unreadable"  # A coding that we cannot read, or bytes that are not in it.
    OVER_LIMIT = "over_limit"


class Decoder:
    """Coded bytes in, plain pieces out; after a fault nothing more comes out."""

    def __init__(self, content_encoding: str = "", limit: int = DECODED_MAX) -> None:
        coding = content_encoding.strip().lower()
        self.fault: DecodeFault | None = None
        #: Whether the bytes are not coded, so that each piece is what it decodes to.
        self.plain = coding in {"", "identity"}
        self._codec = _codec_of(coding)
        if not self.plain and self._codec is None:
            self.fault = DecodeFault.UNREADABLE
        self._left = limit

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """Give the plain bytes piece by piece, so that a bomb never stands in memory at once."""
        if self.plain:
            yield chunk
        elif self._codec is not None and self.fault is None:
            try:
                yield from self._up_to_limit(self._codec, chunk)
            except CODEC_ERRORS:
                self.fault = DecodeFault.UNREADABLE

    def _up_to_limit(self, codec: Codec, chunk: bytes) -> Iterator[bytes]:
        for piece in codec.pieces(chunk):
            if len(piece) > self._left:
                self.fault = DecodeFault.OVER_LIMIT
                return
            self._left -= len(piece)
            yield piece


def _codec_of(coding: str) -> Codec | None:
    match coding:
        case "gzip" | "x-gzip":
            return Inflate(gzip=True)
        case "deflate":
            return Inflate(gzip=False)
        case "br":
            return Brotli()
        case "zstd":
            return Zstandard()
        case _:
            return None
