"""Blocking work of a stream runs on the pool that the stream was given."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from om_server.rpc.blocking import blocking, blocking_on


def test_the_work_runs_on_a_thread_of_the_pool_while_the_loop_goes_on() -> None:
    let_go = threading.Event()

    async def run(pool: ThreadPoolExecutor) -> str:
        loop, entered = asyncio.get_running_loop(), asyncio.Event()

        def work() -> str:
            loop.call_soon_threadsafe(entered.set)
            assert let_go.wait(10)
            return threading.current_thread().name

        with blocking_on(pool):
            task = asyncio.create_task(blocking(work))
        # The loop is free to do this while the work waits for it.
        await entered.wait()
        let_go.set()
        return await task

    with ThreadPoolExecutor(1, thread_name_prefix="pool") as pool:
        assert asyncio.run(run(pool)).startswith("pool")


def test_an_error_of_the_work_is_the_streams() -> None:
    async def run(pool: ThreadPoolExecutor) -> None:
        with blocking_on(pool):
            await blocking(lambda: 1 // 0)

    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        asyncio.run(run(pool))


def test_outside_of_a_stream_there_is_no_pool() -> None:
    with pytest.raises(LookupError):
        asyncio.run(blocking(lambda: None))
