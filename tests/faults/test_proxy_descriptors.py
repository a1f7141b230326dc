"""Row 67: a proxy that can open nothing more refuses at once, loses nothing, and goes on when it can."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.faults.estate import charge_of
from tests.faults.patience import awaited
from tests.faults.provider import TOKENS_IN, TOKENS_OUT, Provider, provider
from tests.faults.proxy_site import ProxySite, proxied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.scene import MakeSite

_EXACT = charge_of(TOKENS_IN, TOKENS_OUT)
#: The proxy gives nothing up before the tests do, so whatever ends in time was not waited for.
_PATIENT = {"OM_PROXY_HEAD_TIMEOUT_S": "90", "OM_UPSTREAM_CONNECT_TIMEOUT_S": "90"}
_STREAMS = 12
#: Enough for some of the streams, each of which takes two.
_SPARE = 7
#: A connection that was closed before anything was answered on it.
_CLOSED = 0


@pytest.fixture
def upstream() -> Iterator[Provider]:
    with provider() as serving:
        yield serving


@pytest.fixture
def proxy(make_site: MakeSite, upstream: Provider) -> Iterator[ProxySite]:
    with proxied(make_site("sqlite"), upstream) as site:
        yield site


def status(proxy: ProxySite, *, stream: bool = False) -> int:
    try:
        return proxy.ask(stream=stream).status_code
    except httpx.TransportError:
        return _CLOSED


def test_streams_go_on_and_what_finds_no_descriptor_is_refused_at_once_row_67(proxy: ProxySite) -> None:
    process = proxy.start(more=_PATIENT)
    assert status(proxy) == 200
    process.limit_descriptors(_SPARE)
    proxy.provider.may_end.clear()
    with ThreadPoolExecutor(_STREAMS) as callers:
        calls = [callers.submit(status, proxy, stream=True) for _ in range(_STREAMS)]
        # No stream can end yet, so what has ended was refused; the first call was asked before.
        awaited(lambda: sum(call.done() for call in calls) + proxy.provider.asked - 1 == _STREAMS)
        refused = [call.result() for call in calls if call.done()]
        proxy.provider.may_end.set()
        answers = [call.result() for call in calls]

    assert set(refused) <= {_CLOSED, 502, 503}
    assert 0 < len(refused) < _STREAMS
    assert answers.count(200) == _STREAMS - len(refused)
    assert status(proxy) == 200
    assert not process.ended
    proxy.check(*[_EXACT] * (2 + answers.count(200)), *[0] * answers.count(502))


def test_without_a_descriptor_for_the_journal_nothing_is_sent_row_67(proxy: ProxySite) -> None:
    """The room of the first call is not taken yet; what is written already needs no descriptor."""
    process = proxy.start(more=_PATIENT)
    with httpx.Client() as client:
        client.get(f"{proxy.url}/health/live")
        process.limit_descriptors(0)
        refused = proxy.ask(client=client)
    process.limit_descriptors(_SPARE)
    with ExitStack() as stack:
        host, port = proxy.url.removeprefix("http://").split(":")
        for _ in range(2 * _SPARE):
            stack.enter_context(socket.create_connection((host, int(port))))
        answer = awaited(lambda: {status(proxy)} - {200, 503})

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "service_unavailable")
    assert refused.headers["retry-after"]
    assert answer == {_CLOSED}
    awaited(lambda: status(proxy) == 200)
    assert proxy.provider.asked == 1
    proxy.check(_EXACT)
