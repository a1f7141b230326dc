"""The way to a provider: its name is asked for seldom and by one, and written addresses never."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from om_proxy.upstream.dialer import Dialer, Origin, Securable, origin_of
from tests.proxy.one_edge import answers
from tests.proxy.raw_http import provider


class Names:
    """A guard that knows where every name leads, and counts who asks."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> list[dict[str, object]]:
        self.asked.append(host)
        await asyncio.sleep(0)
        return [{"host": address, "port": port} for address in self.addresses]

    async def close(self) -> None:
        """Nothing is open."""


def dialer_with(names: Names) -> Dialer:
    return Dialer(cast("Any", names), timeout_s=5)


def origin(host: str, port: int, name: str, *, tls: bool) -> Origin:
    return Origin(tls, host, port, name.encode())


async def reached(dialer: Dialer, where: Origin) -> None:
    protocol = await dialer.dial(where, _Protocol)
    protocol.transports[0].close()
    await asyncio.sleep(0)


class _Protocol(Securable):
    def __init__(self) -> None:
        self.transports: list[asyncio.BaseTransport] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transports.append(transport)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("https://api.example.com", origin("api.example.com", 443, "api.example.com", tls=True)),
        ("http://localhost:8080", origin("localhost", 8080, "localhost:8080", tls=False)),
        ("http://[::1]:80", origin("::1", 80, "[::1]", tls=False)),
        (
            "https://b\u00fccher.example",
            origin("xn--bcher-kva.example", 443, "xn--bcher-kva.example", tls=True),
        ),
    ],
)
def test_an_origin_is_read(text: str, read: Origin) -> None:
    assert origin_of(text) == read


async def test_many_who_need_a_name_at_once_ask_for_it_once() -> None:
    names = Names("127.0.0.1")
    async with provider(answers) as scripted:
        where = origin_of(scripted.url.replace("127.0.0.1", "provider.example"))
        dialer = dialer_with(names)
        await asyncio.gather(*[reached(dialer, where) for _ in range(5)])

    assert names.asked == ["provider.example"]


async def test_an_address_is_not_asked_for() -> None:
    names = Names("192.0.2.1")
    async with provider(answers) as scripted:
        await reached(dialer_with(names), origin_of(scripted.url))

    assert names.asked == []


async def test_a_name_without_addresses_leads_nowhere_and_is_asked_for_again() -> None:
    names = Names()
    dialer = dialer_with(names)
    for _ in range(2):
        with pytest.raises(OSError, match="no address"):
            await dialer.dial(origin_of("http://provider.example"), _Protocol)

    assert names.asked == ["provider.example"] * 2


async def test_many_who_need_a_name_that_leads_nowhere_learn_it_together() -> None:
    names = Names()
    dialer = dialer_with(names)
    where = origin_of("http://provider.example")
    tasks = [asyncio.create_task(dialer.dial(where, _Protocol)) for _ in range(5)]
    await asyncio.sleep(0)
    # Whoever asked first need not wait for the answer.
    tasks[0].cancel()

    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError, *[OSError] * 4]
    assert names.asked == ["provider.example"]
