"""What the library's client does not refuse by itself: stray bytes, endless interim answers, inner addresses.

A provider's connection is used for one tenant after another, so nothing may stay on it from the one before.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from functools import partial
from typing import cast

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.resolver import ThreadedResolver
from aiohttp.streams import StreamReader

#: Interim answers (1xx) that one request may get.
INTERIM_MAX = 20

_INTERIM = range(100, 200)
_SWITCHING_PROTOCOLS = 101


class AddressRefused(OSError):
    """A name leads to an address that only names of the own network may lead to."""


class AddressGuard(AbstractResolver):
    """Resolves names in bounded time, and lets none but those that were named lead to a private address.

    Every answer is looked at, so a name whose answer changes (DNS rebinding) gains nothing. An origin that
    is written as an address is not asked here: whoever wrote it meant it.
    """

    def __init__(
        self, private_hosts: Collection[str], *, timeout_s: float, resolver: AbstractResolver | None = None
    ) -> None:
        self._private_hosts = {host.lower() for host in private_hosts}
        self._timeout_s = timeout_s
        self._resolver = ThreadedResolver() if resolver is None else resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Give the addresses that may be connected to. OSError where there is none."""
        try:
            async with asyncio.timeout(self._timeout_s):
                found = await self._resolver.resolve(host, port, family)
        except TimeoutError:
            raise OSError("the name was not resolved in time") from None
        if host.lower() in self._private_hosts:
            return found
        allowed = [result for result in found if _is_public(result["host"])]
        if found and not allowed:
            raise AddressRefused("the name leads to a private address")
        return allowed

    async def close(self) -> None:
        """Close what resolves."""
        await self._resolver.close()


class StrictConnector(TCPConnector):
    """The library's pool, with connections that take exactly one answer for each request."""

    def __init__(self, guard: AddressGuard, *, connections_max: int) -> None:
        super().__init__(limit=connections_max, family=socket.AF_UNSPEC, resolver=guard)
        loop = asyncio.get_running_loop()
        self._factory = cast("partial[ResponseHandler]", partial(_Connection, loop=loop))


class _Connection(ResponseHandler):
    """One connection to a provider.

    The library keeps a second answer, or one that comes while nobody asks, for the next request on the
    connection: that would be another tenant's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._interim = 0
        self._answered = False
        self._dropped = False

    def set_response_params(self, **params: object) -> None:
        """Begin the next request."""
        self._interim = 0
        self._answered = False
        super().set_response_params(**params)  # type: ignore[arg-type]  # Passed on as they came.

    def data_received(self, data: bytes) -> None:
        """Take in bytes; those that belong to no request end the connection."""
        if data and self._answered and (self._payload is None or self._payload.is_eof()):
            self._drop()
            return
        super().data_received(data)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take in the head of an answer."""
        if self._dropped:
            return
        code = data[0].code
        if code in _INTERIM and code != _SWITCHING_PROTOCOLS:
            self._interim += 1
            if self._interim > INTERIM_MAX:
                self._drop()
                self.set_exception(BadHttpMessage("too many interim answers"))
                return
        elif self._answered:
            self._drop()
            return
        else:
            self._answered = True
        super().feed_data(data, size)

    def _drop(self) -> None:
        self._dropped = True
        self.force_close()
        if self.transport is not None:
            self.transport.close()


def _is_public(address: str) -> bool:
    """Whether an address is one of the internet's, also where IPv6 wraps one of IPv4."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or parsed.sixtofour or parsed
    return parsed.is_global and not parsed.is_multicast
