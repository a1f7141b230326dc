"""The connections to providers: as many as allowed, used again, and closed when nobody needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from om_proxy.upstream.connection import Connection, ConnectionBroken
from om_proxy.upstream.dialer import Origin
from om_proxy.upstream.pool import Pool
from om_proxy.upstream.upload import Upload
from tests.proxy.raw_http import head
from tests.proxy.recorded_transport import RecordedTransport
from tests.proxy.simulated_edge import VirtualLoop

_HERE = Origin(tls=False, host="here", port=80, name=b"here")
_THERE = Origin(tls=False, host="there", port=80, name=b"there")
_REPLY = head("200 OK", "Content-Length: 0")


class Exchange:
    """A dialer whose connections lead nowhere."""

    def __init__(self) -> None:
        self.dialed: list[Origin] = []
        self.transports: dict[Connection, RecordedTransport] = {}
        self.failing = False
        self.ending = False

    async def dial(self, origin: Origin, make: Callable[[], Connection]) -> Connection:
        self.dialed.append(origin)
        await asyncio.sleep(0)
        if self.failing:
            raise OSError("nobody answers")
        connection = make()
        self.transports[connection] = RecordedTransport()
        connection.connection_made(self.transports[connection])
        if self.ending:
            connection.connection_lost(None)
        return connection

    def pool(self, connections_max: int = 10) -> Pool:
        return Pool(cast("Any", self), connections_max=connections_max)


async def answered(connection: Connection) -> None:
    """Make one whole call over a connection."""
    asked = asyncio.create_task(connection.ask(b"", Upload(b"")))
    await asyncio.sleep(0)
    connection.data_received(_REPLY)
    assert (await asked).whole


async def test_a_free_connection_is_used_again_and_only_for_its_origin() -> None:
    dialer = Exchange()
    pool = dialer.pool()
    first = await pool.connection(_HERE)
    await answered(first)

    assert await pool.connection(_HERE) is first
    assert await pool.connection(_THERE) is not first
    assert await pool.connection(_HERE) is not first
    assert dialer.dialed == [_HERE, _THERE, _HERE]


async def test_the_connection_that_was_used_last_is_used_first() -> None:
    pool = Exchange().pool()
    one, other = await pool.connection(_HERE), await pool.connection(_HERE)
    await answered(one)
    await answered(other)

    assert await pool.connection(_HERE) is other


async def test_whoever_needs_one_too_many_waits_for_one_that_is_given_back_or_lost() -> None:
    pool = Exchange().pool(connections_max=2)
    first, second = await pool.connection(_HERE), await pool.connection(_HERE)
    waiting = [asyncio.create_task(pool.connection(_HERE)) for _ in range(2)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)

    await answered(first)
    assert await waiting[0] is first
    assert not waiting[1].done()
    second.connection_lost(None)
    # Told twice, it still makes room for one.
    pool.lost(second)
    assert await waiting[1] is not second
    assert not asyncio.create_task(pool.connection(_HERE)).done()


async def test_who_cannot_be_reached_or_gives_up_takes_no_room() -> None:
    dialer = Exchange()
    pool = dialer.pool(connections_max=1)
    dialer.failing = True
    for _ in range(3):
        with pytest.raises(OSError, match="nobody"):
            await pool.connection(_HERE)
    dialer.failing = False
    given_up = asyncio.create_task(pool.connection(_HERE))
    await asyncio.sleep(0)
    given_up.cancel()

    async with asyncio.timeout(5):
        await pool.connection(_HERE)


async def test_a_connection_that_ended_while_it_was_dialed_takes_no_room() -> None:
    dialer = Exchange()
    pool = dialer.pool(connections_max=1)
    dialer.ending = True
    for _ in range(3):
        async with asyncio.timeout(5):
            connection = await pool.connection(_HERE)
        with pytest.raises(ConnectionBroken):
            await connection.ask(b"", Upload(b""))


async def test_a_free_connection_that_ends_is_not_given_to_anybody() -> None:
    pool = Exchange().pool()
    first = await pool.connection(_HERE)
    await answered(first)
    first.data_received(b"x")

    assert await pool.connection(_HERE) is not first


def test_what_nobody_needs_for_a_while_is_closed_and_what_is_used_is_not() -> None:
    loop = VirtualLoop()

    async def course() -> None:
        dialer = Exchange()
        pool = dialer.pool()
        unused, used, busy = [await pool.connection(_HERE) for _ in range(3)]
        await answered(unused)
        await answered(used)
        for _ in range(9):
            await asyncio.sleep(4)
            assert await pool.connection(_HERE) is used
            await answered(used)
        closed = {connection: dialer.transports[connection].closed for connection in (unused, used, busy)}
        assert closed == {unused: True, used: False, busy: False}
        await asyncio.sleep(60)
        assert dialer.transports[used].closed
        assert not dialer.transports[busy].closed

    try:
        loop.run_until_complete(course())
    finally:
        loop.close()
