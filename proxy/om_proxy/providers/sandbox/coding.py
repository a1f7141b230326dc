"""Content codings of an answer, part by part, so that each part can be read before the next one comes.

Brotli and Zstandard are written without compressing, which both formats allow: decoders cannot tell, and no
library is needed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

# zlib's way of asking for a gzip wrapper.
_GZIP_WINDOW_BITS = 31
_BLOCK_MAX = 1 << 16
_BROTLI_END = b"\x03"
# Frame header without options, and a window of 2 MiB.
_ZSTD_START = b"\x28\xb5\x2f\xfd\x00\x58"
_ZSTD_END = b"\x01\x00\x00"


def encode(parts: Sequence[bytes], coding: str) -> list[bytes]:
    """Encode each part; the last piece ends the coding."""
    if coding == "gzip":
        return _gzip(parts)
    return _brotli(parts) if coding == "br" else _zstandard(parts)


def _gzip(parts: Sequence[bytes]) -> list[bytes]:
    deflater = zlib.compressobj(wbits=_GZIP_WINDOW_BITS)
    compressed = [deflater.compress(part) + deflater.flush(zlib.Z_SYNC_FLUSH) for part in parts]
    return [*compressed, deflater.flush()]


def _brotli(parts: Sequence[bytes]) -> list[bytes]:
    """Write meta-blocks whose bits are: not last, length in four nibbles, not compressed, padding."""
    coded: list[bytes] = []
    # The stream opens with one more bit: a window of 64 KiB.
    opening = 1
    for part in parts:
        piece = b""
        for block in _blocks(part):
            bits = (len(block) - 1) << 3 | 1 << 19
            piece += (bits << opening).to_bytes(3, "little") + block
            opening = 0
        coded.append(piece)
    return [*coded, _BROTLI_END if not opening else b"\x06"]


def _zstandard(parts: Sequence[bytes]) -> list[bytes]:
    coded = [
        b"".join((len(block) << 3).to_bytes(3, "little") + block for block in _blocks(part)) for part in parts
    ]
    return [_ZSTD_START, *coded, _ZSTD_END]


def _blocks(part: bytes) -> Iterator[bytes]:
    return (part[start : start + _BLOCK_MAX] for start in range(0, len(part), _BLOCK_MAX))
