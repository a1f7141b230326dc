"""Embeddings: the same numbers for every text of the same length, as lists and as bytes."""

from __future__ import annotations

import struct
from base64 import b64encode
from functools import lru_cache


@lru_cache(maxsize=64)
def vector(seed: int, dimensions: int) -> tuple[float, ...]:
    """Make a vector whose numbers are exact in 32 bits."""
    return tuple(((seed + index) % 64 - 32) / 256 for index in range(dimensions))


@lru_cache(maxsize=64)
def packed(seed: int, dimensions: int) -> str:
    """Write the vector as base64 of little-endian 32-bit floats."""
    return b64encode(struct.pack(f"<{dimensions}f", *vector(seed, dimensions))).decode()
