"""Blocking work of a stream: on the thread pool that the unary calls have, never on the event loop.

A context variable carries the pool, as it carries the caller.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")

_pool: ContextVar[Executor] = ContextVar("blocking_pool")


@contextlib.contextmanager
def blocking_on(pool: Executor) -> Iterator[None]:
    """Make this the pool of the stream that runs in the block."""
    token = _pool.set(pool)
    try:
        yield
    finally:
        _pool.reset(token)


async def blocking(work: Callable[[], T]) -> T:
    """Run a bounded piece of work on a thread; LookupError outside of a stream.

    A stream that is cancelled stops waiting for it; the work runs to its end, and a server that stops
    waits for that. The thread knows the caller, and whose rows may be seen.
    """
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_pool.get(), context.run, work)
