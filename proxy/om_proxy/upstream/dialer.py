"""Opens connections to the fixed origins of providers, with TLS where the origin says so."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

import aiohappyeyeballs
from yarl import URL

from om_proxy.upstream.address_guard import AddressGuard


class Securable(asyncio.Protocol):
    """What is connected, and told where TLS begins."""

    def secured(self, transport: asyncio.Transport) -> None:
        """Go on over TLS."""


_Protocol = TypeVar("_Protocol", bound=Securable)

#: How long the addresses of a name are used before it is asked for again.
_ADDRESSES_S = 10.0
#: After which an address of the other family is tried beside the first (RFC 8305).
_NEXT_ADDRESS_S = 0.25


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections lead."""

    tls: bool
    #: A name, or an address without brackets.
    host: str
    port: int
    #: As the `Host` header has it.
    name: bytes


def origin_of(text: str) -> Origin:
    """Read an origin, such as https://api.example.com."""
    url = URL(text)
    return Origin(
        url.scheme == "https", url.raw_host or "", url.port or 0, (url.host_port_subcomponent or "").encode()
    )


class Dialer:
    """Knows the way to every origin."""

    def __init__(self, guard: AddressGuard, *, timeout_s: float) -> None:
        """`timeout_s` is for a connection and its handshake; the guard has its own for names."""
        self._guard = guard
        self._timeout_s = timeout_s
        self._tls: ssl.SSLContext | None = None
        self._found: dict[str, tuple[float, list[str]]] = {}
        self._questions: dict[str, asyncio.Task[list[str]]] = {}

    async def dial(self, origin: Origin, make: Callable[[], _Protocol]) -> _Protocol:
        """Open a connection. OSError, TimeoutError."""
        hosts = [origin.host] if _is_address(origin.host) else await self._addresses(origin)
        routes = [
            route
            for host in hosts
            for route in aiohappyeyeballs.addr_to_addr_infos((host, origin.port)) or ()
        ]
        if origin.tls and self._tls is None:
            # It reads the certificates that are trusted from the disk.
            self._tls = await asyncio.to_thread(_verifying)
        async with asyncio.timeout(self._timeout_s):
            connected = await aiohappyeyeballs.start_connection(
                routes, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1
            )
            # From here on the socket is the transport's, which also closes it.
            loop = asyncio.get_running_loop()
            plain, protocol = await loop.create_connection(make, sock=connected)
            if origin.tls and self._tls is not None:
                secured = await loop.start_tls(plain, protocol, self._tls, server_hostname=origin.host)
                protocol.secured(cast("asyncio.Transport", secured))
        return protocol

    async def close(self) -> None:
        """Give up what is being asked, and close what finds names."""
        for question in self._questions.values():
            question.cancel()
        await self._guard.close()

    async def _addresses(self, origin: Origin) -> list[str]:
        host = origin.host
        until, found = self._found.get(host, (0.0, []))
        if until > asyncio.get_running_loop().time():
            return found
        # Many may want to know at once, and one question answers all of them, also where the answer is none.
        question = self._questions.get(host)
        if question is None:
            question = self._questions[host] = asyncio.create_task(self._ask(origin))
            question.add_done_callback(partial(self._answered, host))
        return await asyncio.shield(question)

    async def _ask(self, origin: Origin) -> list[str]:
        found = [result["host"] for result in await self._guard.resolve(origin.host, origin.port)]
        if not found:
            raise OSError("the name has no address")
        self._found[origin.host] = (asyncio.get_running_loop().time() + _ADDRESSES_S, found)
        return found

    def _answered(self, host: str, question: asyncio.Task[list[str]]) -> None:
        del self._questions[host]
        if not question.cancelled():
            # Read here too: whoever asked may have left.
            question.exception()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _verifying() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
