"""The codings themselves: coded bytes in, plain pieces of a bounded size out, and nothing behind the end."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import IO, Final, Protocol, cast

import brotli
import zstandard

#: What a codec raises for bytes that are not in its coding.
CODEC_ERRORS: Final = (zlib.error, brotli.error, zstandard.ZstdError)

_PIECE = 64 << 10
_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS
# Bytes that tell zlib from raw deflate; servers send both under the one name.
_DEFLATE_HEAD = 2
# The library gives all that its input becomes at once, and four bytes may become a block of 128 KiB.
_ZSTD_INPUT = 256
# Of HTTP, as RFC 9659 says: a larger window is an attack on memory.
_ZSTD_WINDOW_MAX = 8 << 20


class Codec(Protocol):
    """Decodes one body."""

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Give what the next bytes become."""
        ...


class Inflate:
    """Gzip, of any number of members, and deflate with or without zlib's wrapper."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._head = b""
        self._inflate = zlib.decompressobj(_GZIP) if gzip else None

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Give what the next bytes become."""
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


class Brotli:
    """Brotli."""

    def __init__(self) -> None:
        self._decompressor = brotli.Decompressor()

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Give what the next bytes become."""
        while not self._decompressor.is_finished():
            piece: bytes = self._decompressor.process(chunk, output_buffer_limit=_PIECE)
            if not piece:
                return
            # It may hold more, even where it has taken in every byte.
            chunk = b""
            yield piece


class Zstandard:
    """Zstandard, of any number of frames."""

    def __init__(self) -> None:
        self._out = _Sink()
        decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_MAX)
        self._writer = decompressor.stream_writer(cast("IO[bytes]", self._out), write_size=_PIECE)

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """Give what the next bytes become."""
        for start in range(0, len(chunk), _ZSTD_INPUT):
            self._writer.write(chunk[start : start + _ZSTD_INPUT])
            yield from self._out.take()


class _Sink:
    """Where the library writes to; of a file it uses nothing else."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def take(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        return pieces


def _is_zlib(head: bytes) -> bool:
    """Tell a zlib header (RFC 1950: method 8, and a checksum of 31) from raw deflate."""
    return head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(head[:_DEFLATE_HEAD]) % 31 == 0
