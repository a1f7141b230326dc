"""A proxy is read on a port of its own, which tells counts and no content."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from om_proxy.counts import Counts
from om_proxy.funding.drawers import LeaseTotals
from om_proxy.metrics import ProxyMetrics, Standing, exposed
from tests.ports import free_ports
from tests.proxy.fake_servicer import KEY
from tests.proxy.one_edge import PROVIDER_KEY, answers, edge
from tests.proxy.raw_http import Exchange

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def series(text: str) -> Series:
    """Every sample by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Series, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


async def scraped(port: int, path: str = "/metrics") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def test_a_call_and_a_refusal_are_told_without_keys_or_content() -> None:
    (port,) = free_ports(1)
    async with edge(answers, OM_METRICS_PORT=port) as proxy:
        assert (await proxy.ask()).status == 200
        assert (await proxy.ask(b"{")).status == 400
        assert (await proxy.ask(path="/v1/nothing-of-the-kind")).status == 404
        status, text = await scraped(port)
        other, _ = await scraped(port, "/")

    assert (status, other) == (200, 404)
    found = series(text)
    chat = {"provider": "openai", "route": "/v1/chat/completions"}
    assert value(found, "om_proxy_requests_total", **chat, status="2xx") == 1
    assert value(found, "om_proxy_requests_total", **chat, status="4xx") == 1
    assert value(found, "om_proxy_requests_total", provider="none", route="none", status="4xx") == 1
    assert value(found, "om_proxy_refusals_total", code="invalid_json") == 1
    assert value(found, "om_proxy_outcomes_total", outcome="CHARGED") == 1
    assert value(found, "om_proxy_quantity_total", provider="openai", unit="input_tokens") == 3
    assert value(found, "om_proxy_request_seconds_count", provider="openai") == 2
    assert value(found, "om_proxy_upstream_seconds_count", provider="openai") == 1
    assert value(found, "om_proxy_ready") == 1
    assert value(found, "om_proxy_open_calls") == 0
    assert value(found, "om_proxy_journal_bytes") > 0
    assert value(found, "om_proxy_unsettled_events") == 1
    for content in (
        KEY,
        PROVIDER_KEY,
        "nothing-of-the-kind",
        "user_1",
        "acme",
        "gpt-4o",
        "Hi there",
        "Hello",
    ):
        assert content not in text


async def test_a_provider_that_fails_is_told() -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.answer(b"{}", status="429 Too Many Requests")

    (port,) = free_ports(1)
    async with edge(refuses, OM_METRICS_PORT=port) as proxy:
        assert (await proxy.ask()).status == 429
        _, text = await scraped(port)

    assert value(series(text), "om_proxy_provider_errors_total", provider="openai", error="status_429") == 1


async def test_a_caller_who_leaves_is_told_as_such() -> None:
    asked, dropped = asyncio.Event(), asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        asked.set()
        await exchange.gone()
        dropped.set()

    (port,) = free_ports(1)
    async with edge(waits, OM_METRICS_PORT=port) as proxy:
        call = asyncio.create_task(proxy.ask())
        await asked.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await dropped.wait()
        _, text = await scraped(port)

    route = "/v1/chat/completions"
    assert value(series(text), "om_proxy_requests_total", provider="openai", route=route, status="left") == 1


async def test_the_public_port_shows_no_metrics() -> None:
    async with edge(answers) as proxy, proxy.caller() as caller:
        await caller.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = await caller.read()

    assert answer.status == 404
    assert b"om_proxy" not in answer.body


def _standing() -> Standing:
    return Standing(
        lambda: True, lambda: 2, leases=lambda: LeaseTotals(3, 5 * 10**9, 10**9), unsettled=lambda: 4
    )


def test_what_lies_here_is_told_in_credits() -> None:
    found = {metric.name: metric.samples for metric in ProxyMetrics(Counts(), _standing()).collect()}

    assert [found[f"om_proxy_lease{name}"][0].value for name in ("s", "_held_credits", "_left_credits")] == [
        3,
        5,
        1,
    ]
    assert found["om_proxy_open_calls"][0].value == 2


async def test_a_taken_port_is_an_error(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    metrics = ProxyMetrics(Counts(), _standing())
    async with exposed(metrics, journal=tmp_path, host="127.0.0.1", port=port):
        with pytest.raises(OSError, match=str(port)):
            async with exposed(metrics, journal=tmp_path, host="127.0.0.1", port=port):
                pass
