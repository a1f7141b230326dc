"""The connections to providers: bounded in number, used again, closed when nobody needs them."""

from __future__ import annotations

import asyncio
from functools import partial

from om_proxy.upstream.connection import Connection
from om_proxy.upstream.dialer import Dialer, Origin

#: Closed after so long without use, before the provider does it under a request.
_IDLE_S = 15.0


class Pool:
    """Every connection of one process to its providers."""

    def __init__(self, dialer: Dialer, *, connections_max: int) -> None:
        """`connections_max` counts those in use; whoever needs one more waits."""
        self._dialer = dialer
        self._room = asyncio.Semaphore(connections_max)
        self._used: dict[Connection, Origin] = {}
        #: By origin; there the one that was used last is the last.
        self._idle: dict[Origin, list[Connection]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    async def connection(self, origin: Origin) -> Connection:
        """Give a connection that nobody else uses, until it is free again. OSError, TimeoutError."""
        await self._room.acquire()
        try:
            connection = self._free(origin) or await self._dialer.dial(origin, partial(Connection, self))
        except BaseException:
            self._room.release()
            raise
        self._used[connection] = origin
        return connection

    def _free(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.quiet:
                return connection
            connection.drop()
        return None

    def free(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        origin = self._used.pop(connection)
        self._room.release()
        connection.idle_since = self._loop.time()
        self._idle.setdefault(origin, []).append(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(_IDLE_S, self._close_unused)

    def lost(self, connection: Connection) -> None:
        """Forget a connection that ended."""
        if self._used.pop(connection, None) is not None:
            self._room.release()
            return
        for idle in self._idle.values():
            if connection in idle:
                idle.remove(connection)

    async def close(self) -> None:
        """End all of them."""
        if self._timer is not None:
            self._timer.cancel()
        connections = [*self._used, *(one for idle in self._idle.values() for one in idle)]
        await asyncio.gather(*[connection.end() for connection in connections])
        await self._dialer.close()

    def _close_unused(self) -> None:
        self._timer = None
        ended = self._loop.time() - _IDLE_S
        for idle in self._idle.values():
            for connection in [one for one in idle if one.idle_since <= ended]:
                # It says itself that it is lost.
                connection.drop()
        oldest = min((idle[0].idle_since for idle in self._idle.values() if idle), default=None)
        if oldest is not None:
            self._timer = self._loop.call_at(oldest + _IDLE_S, self._close_unused)
