"""Work that goes on at the provider is charged once, to the call that began it, whoever sees its end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest

from tests.e2e.tariff import charge_nanos
from tests.e2e.tenant import awaited, nanos, quantities
from tests.proxy.raw_http import provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.e2e.installation import Installation
    from tests.e2e.tenant import Tenant
    from tests.proxy.raw_http import Exchange

_GRANTED = 100 * 10**9
_MODEL = "gpt-4o"
_USAGE = {"input_tokens": 1_000, "output_tokens": 200}
_BEGUN = {"object": "response", "background": True, "model": _MODEL, "status": "queued", "usage": None}
_ENDED = {**_BEGUN, "status": "completed", "usage": {**_USAGE, "total_tokens": 1_200}}
_CALL = {"model": _MODEL, "input": "Hi", "background": True, "max_output_tokens": 1_000}


@contextlib.asynccontextmanager
async def _openai() -> AsyncIterator[str]:
    """Begin what is posted under the id that its metadata asks for, and have it done when it is polled."""

    async def answer(exchange: Exchange) -> None:
        path = exchange.line.split()[1]
        if path == "/v1/responses":
            job_id = orjson.loads(exchange.body)["metadata"]["job"]
            await exchange.answer(orjson.dumps({"id": job_id, **_BEGUN}))
        else:
            await exchange.answer(orjson.dumps({"id": path.rpartition("/")[2], **_ENDED}))

    async with provider(answer) as scripted:
        yield scripted.url


@pytest.fixture(scope="module")
def edges(installation: Installation) -> tuple[str, str]:
    """Two proxies before one provider."""
    origin = installation.serve(_openai())
    return installation.proxy_before(origin), installation.proxy_before(origin)


def _begin(edge: str, tenant: Tenant, job_id: str) -> None:
    headers = tenant.billing(Authorization="Bearer sk-1")
    call = {**_CALL, "metadata": {"job": job_id}}
    answer = httpx.post(f"{edge}/v1/responses", json=call, headers=headers)
    assert answer.json()["status"] == "queued", answer.text


def _poll(edge: str, tenant: Tenant, job_id: str) -> None:
    headers = tenant.billing("somebody_else", Authorization="Bearer sk-1")
    answer = httpx.get(f"{edge}/v1/responses/{job_id}", headers=headers)
    assert answer.json()["status"] == "completed", answer.text


def _ended(tenant: Tenant) -> dict[str, Any]:
    def read() -> dict[str, Any] | None:
        event = tenant.event()
        return event if event["event"]["outcome"] == "OUTCOME_CHARGED" else None

    found = awaited(read)
    assert found is not None
    return found


@pytest.mark.parametrize("polls", [(0,), (0, 0, 0), (1,), (0, 1, 0)], ids=str)
def test_a_background_response_is_charged_once_whoever_polls(
    installation: Installation, edges: tuple[str, str], polls: tuple[int, ...]
) -> None:
    tenant, job_id = installation.tenant("100"), f"resp_{'_'.join(map(str, polls))}"
    _begin(edges[0], tenant, job_id)
    assert tenant.event()["event"]["outcome"] == "OUTCOME_DEFERRED"

    for edge in polls:
        _poll(edges[edge], tenant, job_id)
    event = _ended(tenant)

    charge = charge_nanos("openai", _MODEL, _USAGE)
    assert nanos(event, "charge") == charge
    (line,) = event["event"]["lines"]
    assert quantities(line) == _USAGE
    assert event["event"]["attribution"]["userId"] == "user_123"
    assert awaited(lambda: tenant.funds().held == 0)
    assert tenant.funds().available == _GRANTED - charge
    assert len(tenant.events()) == 1


def test_a_poll_that_is_settled_before_its_call_is_charged_to_the_call(
    installation: Installation, edges: tuple[str, str]
) -> None:
    tenant, job_id = installation.tenant("100"), "resp_early"
    _poll(edges[1], tenant, job_id)
    _begin(edges[0], tenant, job_id)

    event = _ended(tenant)

    assert nanos(event, "charge") == charge_nanos("openai", _MODEL, _USAGE)
    assert event["event"]["attribution"]["userId"] == "user_123"
    assert awaited(lambda: tenant.funds().held == 0)
