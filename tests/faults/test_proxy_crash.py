"""K1 to K6: the proxy is killed around a call, and its next start says what became of it."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from tests.faults.estate import RATE_IN, RATE_OUT, charge_of
from tests.faults.failpoint import Fault
from tests.faults.patience import awaited
from tests.faults.provider import CHUNK, CHUNKS, TOKENS_IN, TOKENS_OUT, Provider, provider
from tests.faults.proxy_site import ProxySite, proxied, request_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.scene import MakeSite

_EXACT = charge_of(TOKENS_IN, TOKENS_OUT)


@pytest.fixture
def upstream() -> Iterator[Provider]:
    with provider() as serving:
        yield serving


@pytest.fixture
def proxy(make_site: MakeSite, upstream: Provider) -> Iterator[ProxySite]:
    with proxied(make_site("sqlite"), upstream) as site:
        yield site


def crashed(proxy: ProxySite, point: str, *, stream: bool = False, nth: int = 1) -> None:
    """Kill it at a point of its first call, and start it again."""
    proxy.start(fault=Fault(point, nth))
    proxy.crash(stream=stream)
    assert proxy.buried() == -signal.SIGKILL
    proxy.start()


def prompt_charge(*, stream: bool = False) -> int:
    """The prompt alone, estimated."""
    return -(-request_bytes(stream=stream) // 4) * RATE_IN


def test_a_call_that_was_not_written_down_was_not_made_and_costs_nothing(proxy: ProxySite) -> None:
    """K1. The lease for it returns."""
    crashed(proxy, "before intent")

    assert proxy.provider.asked == 0
    proxy.check()


def test_a_call_that_was_not_sent_costs_nothing(proxy: ProxySite) -> None:
    """K2."""
    crashed(proxy, "after intent")

    assert proxy.provider.asked == 0
    proxy.check(0)


def test_a_call_whose_answer_nobody_saw_costs_its_prompt(proxy: ProxySite) -> None:
    """K3. The organization's policy is the default: what is known is charged, and the rest is free."""
    crashed(proxy, "after sent")

    proxy.check(prompt_charge())


def test_a_stream_that_broke_off_costs_what_was_seen_of_it(proxy: ProxySite) -> None:
    """K4: at the second checkpoint, so that what came before it is charged and no more."""
    proxy.provider.may_end.clear()
    crashed(proxy, "after checkpoint", stream=True, nth=2)

    proxy.wait(1)
    [(_, charge)] = proxy.events()
    seen = (charge - prompt_charge(stream=True)) // RATE_OUT
    assert 2 * 32 * 1024 // 4 - CHUNK <= seen <= CHUNKS * CHUNK // 4
    proxy.check(charge)


def test_an_answer_whose_end_was_not_written_down_is_estimated(proxy: ProxySite) -> None:
    """K5."""
    crashed(proxy, "before outcome")

    assert proxy.provider.asked == 1
    proxy.check(prompt_charge())


@pytest.mark.parametrize("point", ["after outcome", "before shipping"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_outcome_that_was_not_shipped_is_shipped_by_the_next_start(
    proxy: ProxySite, point: str, *, stream: bool
) -> None:
    """K6."""
    crashed(proxy, point, stream=stream)

    proxy.check(_EXACT)


def test_calls_go_on_behind_a_crash_and_all_are_charged_once(proxy: ProxySite) -> None:
    proxy.start(fault=Fault("before outcome", nth=4))
    for _ in range(3):
        assert proxy.ask().status_code == 200
    proxy.crash()
    assert proxy.buried() == -signal.SIGKILL
    proxy.start()
    assert proxy.ask(stream=True).status_code == 200

    proxy.check(*[_EXACT] * 4, prompt_charge())


def test_an_order_to_end_ships_everything_and_gives_every_lease_back(proxy: ProxySite) -> None:
    proxy.start()
    for _ in range(3):
        assert proxy.ask().status_code == 200
    proxy.stop()

    proxy.check(*[_EXACT] * 3)


def test_a_second_order_ends_it_at_once_and_what_is_written_is_charged(proxy: ProxySite) -> None:
    proxy.provider.may_end.clear()
    process = proxy.start()
    caller = threading.Thread(target=proxy.crash, kwargs={"stream": True})
    caller.start()
    awaited(lambda: proxy.provider.asked)
    process.signal(signal.SIGTERM)
    awaited(lambda: not proxy.ready())
    process.signal(signal.SIGTERM)
    assert proxy.buried() == 130
    caller.join()
    proxy.start()

    proxy.wait(1)
    [(state, charge)] = proxy.events()
    assert (state, charge >= prompt_charge(stream=True)) == ("RATED", True)
    proxy.check(charge)


def test_no_journal_has_a_key_or_a_prompt(proxy: ProxySite) -> None:
    crashed(proxy, "after checkpoint", stream=True)
    proxy.ask()
    written = proxy.written()

    assert b"evt_" in written
    assert b"canary" not in written
    assert proxy.site.tenants[0].secret.encode() not in written
