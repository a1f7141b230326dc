"""Where names of hosts may lead: to the internet, and to private addresses where the operator said so."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver


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


def _is_public(address: str) -> bool:
    """Whether an address is one of the internet's, also where IPv6 wraps one of IPv4."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or parsed.sixtofour or parsed
    return parsed.is_global and not parsed.is_multicast
