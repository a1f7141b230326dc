from __future__ import annotations

import threading

import pytest

from om_proxy.off_loop import INLINE_BYTES_MAX, off_loop


@pytest.mark.parametrize(
    ("size", "here"), [(0, True), (INLINE_BYTES_MAX, True), (INLINE_BYTES_MAX + 1, False)]
)
async def test_only_work_on_many_bytes_leaves_the_thread(size: int, *, here: bool) -> None:
    assert (await off_loop(size, threading.get_ident) == threading.get_ident()) is here


async def test_an_error_of_the_work_is_the_callers() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    for size in (1, INLINE_BYTES_MAX + 1):
        with pytest.raises(ZeroDivisionError):
            await off_loop(size, broken)
