"""Work on many bytes would hold up every other call, so it goes to a thread; for few a thread costs more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Parsing and scanning this much takes about a millisecond.
INLINE_BYTES_MAX = 256 * 1024


async def off_loop(size_bytes: int, work: Callable[[], T]) -> T:
    """Do the work here, or in a thread where it reads more than INLINE_BYTES_MAX."""
    if size_bytes <= INLINE_BYTES_MAX:
        return work()
    return await asyncio.to_thread(work)
