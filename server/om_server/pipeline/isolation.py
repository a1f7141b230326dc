"""Finds what fails among things that failed together, by halving: one in n costs about 2 * log2(n) tries."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from om_server.core.errors import Code, DomainError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


def is_transient(error: Exception) -> bool:
    """Tell whether a failure passes by itself, so that it says nothing about what was tried."""
    return isinstance(error, DomainError) and error.code is Code.UNAVAILABLE


def isolate(
    parts: Sequence[Sequence[T]],
    attempt: Callable[[Sequence[T]], object],
    *,
    failed: Callable[[T, Exception], None],
) -> None:
    """Try each part, then the halves of one that fails, and call `failed` with each item that fails alone.

    `attempt` takes all of what it is given or nothing; the order stays. A transient error ends it at
    once and is raised: what was not tried is tried again another time.
    """
    waiting = list(reversed(parts))
    while waiting:
        part = waiting.pop()
        try:
            attempt(part)
        except Exception as error:
            if is_transient(error):
                raise
            if len(part) > 1:
                waiting.extend(reversed(halves(part)))
            else:
                failed(part[0], error)


def halves(items: Sequence[T]) -> list[Sequence[T]]:
    """Return two halves; what is alone stays so, and nothing has none."""
    middle = len(items) // 2
    return [part for part in (items[:middle], items[middle:]) if part]
