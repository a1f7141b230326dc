"""Rows 69 and 70: a proxy that is told to end lets streams go on for a while, then cuts and charges them."""

from __future__ import annotations

import signal
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.faults.estate import charge_of
from tests.faults.patience import awaited
from tests.faults.provider import TOKENS_IN, TOKENS_OUT, Provider, provider
from tests.faults.proxy_site import ProxySite, proxied

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.launcher import Process
    from tests.faults.scene import MakeSite

_STREAMS = 50


@pytest.fixture
def upstream() -> Iterator[Provider]:
    with provider() as serving:
        # All are open at once, and none of them comes to its end yet.
        serving.may_end.clear()
        yield serving


@pytest.fixture
def proxy(make_site: MakeSite, upstream: Provider) -> Iterator[ProxySite]:
    with proxied(make_site("sqlite"), upstream) as site:
        yield site


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(_STREAMS) as pool:
        yield pool


def opened(
    proxy: ProxySite, callers: ThreadPoolExecutor, **more: str
) -> tuple[Process, list[Future[httpx.Response]]]:
    process = proxy.start(more=more)
    calls = [callers.submit(proxy.ask, stream=True) for _ in range(_STREAMS)]
    awaited(lambda: proxy.provider.asked == _STREAMS)
    return process, calls


def refuses(proxy: ProxySite) -> bool:
    try:
        httpx.get(f"{proxy.url}/health/live", timeout=5)
    except httpx.ConnectError:
        return True
    return False


def test_streams_end_by_themselves_within_the_grace(proxy: ProxySite, callers: ThreadPoolExecutor) -> None:
    process, calls = opened(proxy, callers)
    process.signal(signal.SIGTERM)
    awaited(lambda: refuses(proxy))
    assert not any(call.done() for call in calls)
    proxy.provider.may_end.set()
    answers = [call.result() for call in calls]
    assert proxy.buried() == 0

    assert {answer.status_code for answer in answers} == {200}
    assert all(answer.text.endswith("data: [DONE]\n\n") for answer in answers)
    proxy.check(*[charge_of(TOKENS_IN, TOKENS_OUT)] * _STREAMS)


def test_streams_that_go_on_are_cut_and_charged_once_each(
    proxy: ProxySite, callers: ThreadPoolExecutor
) -> None:
    process, calls = opened(proxy, callers, OM_STOP_GRACE_S="0.5")
    process.signal(signal.SIGTERM)
    assert proxy.buried() == 0

    assert {type(call.exception()) for call in calls} == {httpx.RemoteProtocolError}
    proxy.wait(_STREAMS)
    charges = [charge for _, charge in proxy.events()]
    assert min(charges) > charge_of(TOKENS_IN, TOKENS_OUT)
    proxy.check(*charges)


def test_a_second_signal_ends_it_at_once_and_all_is_in_the_journal(
    proxy: ProxySite, callers: ThreadPoolExecutor
) -> None:
    process, calls = opened(proxy, callers)
    process.signal(signal.SIGTERM)
    awaited(lambda: refuses(proxy))
    process.signal(signal.SIGTERM)
    assert proxy.buried() == 130
    assert all(call.exception() is not None for call in calls)
    proxy.start()

    proxy.wait(_STREAMS)
    charges = [charge for _, charge in proxy.events()]
    assert len(charges) == _STREAMS
    proxy.check(*charges)
