"""Several edges in front of one real server: what they lease, spend, give back, and hear at once."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from om_proxy.app import running
from om_proxy.settings import load_settings
from om_server.account.keys.key import KeyWish
from om_server.core.money import CREDITS, Money
from om_server.core.page import PageRequest
from om_server.rpc.caller import Scope
from tests.e2e.cut_link import CutLink
from tests.e2e.installation import SERVICE_TOKEN
from tests.e2e.tenant import PATIENCE_S, awaited

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.e2e.installation import Installation
    from tests.e2e.tenant import Tenant

_NANO = 10**9
_EDGES = 4
#: From a change to the first call for which it holds, the slowest of all that are measured.
_HEARD_WITHIN_S = 2.0
_BODY = {
    "model": "gpt-4o",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "What does a smart meter do?"}],
}


@pytest.fixture(scope="module")
def edges(installation: Installation) -> tuple[str, ...]:
    simulator = installation.addresses.simulator
    more = (installation.proxy_before(simulator) for _ in range(_EDGES - 1))
    return (installation.addresses.proxy, *more)


async def _ask(client: httpx.AsyncClient, edge: str, headers: dict[str, str]) -> httpx.Response:
    headers = {**headers, "Authorization": "Bearer a-provider-key"}
    return await client.post(f"{edge}/v1/chat/completions", json=_BODY, headers=headers)


async def _spend(client: httpx.AsyncClient, edge: str, headers: dict[str, str]) -> int:
    """Call again and again until the wallet refuses; how many calls were made."""
    count = 0
    while (answer := await _ask(client, edge, headers)).status_code == httpx.codes.OK:
        count += 1
    assert answer.status_code == httpx.codes.PAYMENT_REQUIRED, answer.text
    return count


def _needed(refusal: httpx.Response) -> int:
    details: dict[str, Any] = refusal.json()["error"]["details"]
    return int(Decimal(details["needed"]) * _NANO)


async def _spend_to_the_end(edges: Sequence[str], headers: dict[str, str]) -> tuple[int, httpx.Response]:
    """Spend on all edges at once while a stream stays open, then one by one until all of them refuse."""
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client, contextlib.AsyncExitStack() as stack:
        slow = {**headers, "Authorization": "Bearer a", "X-Sim": "hang_after=3"}
        stream = await stack.enter_async_context(
            client.stream(
                "POST", f"{edges[0]}/v1/chat/completions", json={**_BODY, "stream": True}, headers=slow
            )
        )
        assert stream.status_code == httpx.codes.OK
        counts = await asyncio.gather(*(_spend(client, edge, headers) for edge in edges for _ in range(3)))
        count, refused = sum(counts), 0
        while refused < len(edges):
            answer = await _ask(client, edges[refused], headers)
            refused = refused + 1 if answer.status_code == httpx.codes.PAYMENT_REQUIRED else 0
            count += not refused
        return count + 1, answer


def test_four_edges_spend_one_wallet_to_its_end(installation: Installation, edges: tuple[str, ...]) -> None:
    tenant = installation.tenant("40")

    count, refusal = asyncio.run(_spend_to_the_end(edges, tenant.billing()))

    charged = awaited(lambda: _settled(tenant, count))
    assert awaited(lambda: tenant.funds().held == 0)
    left = tenant.funds()
    assert left.available == 40 * _NANO - charged
    # No bound was refused that could have been paid, but for what the open stream held until its end.
    assert 0 <= left.available < 2 * _needed(refusal)
    assert installation.platform.wallet.verify(tenant.organization_id).first is None


def _settled(tenant: Tenant, count: int) -> int:
    """What all calls were charged, as soon as every one is settled."""
    answer = tenant.get("/v1/events?limit=1")
    if answer["pagination"]["total"] < count:
        return 0
    return 40 * _NANO - tenant.funds().available if tenant.funds().held == 0 else 0


def test_a_revoked_key_is_refused_at_every_edge_at_once(
    installation: Installation, edges: tuple[str, ...]
) -> None:
    tenant = installation.tenant("1000")
    account = installation.platform.account
    slowest = 0.0
    team_id = _team(installation, tenant)

    async def revoke_one() -> float:
        created = account.create_key(tenant.organization_id, _wish(team_id))
        headers = {**tenant.billing(), "X-OM-Api-Key": created.secret}
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            for edge in edges:
                assert (await _ask(client, edge, headers)).status_code == httpx.codes.OK
            account.revoke_key(tenant.organization_id, created.key.key_id)
            started = time.monotonic()
            for edge in edges:
                while (await _ask(client, edge, headers)).status_code != httpx.codes.UNAUTHORIZED:
                    assert time.monotonic() - started < PATIENCE_S
            return time.monotonic() - started

    for _ in range(10):
        slowest = max(slowest, asyncio.run(revoke_one()))

    assert slowest < _HEARD_WITHIN_S


def _team(installation: Installation, tenant: Tenant) -> str:
    (team,) = installation.platform.account.list_teams(tenant.organization_id, PageRequest(1, "")).items
    return team.team_id


def _wish(team_id: str) -> KeyWish:
    return KeyWish(team_id, scopes=frozenset(Scope))


def test_a_wallet_that_is_made_while_calls_go_on_pays_for_the_next(
    installation: Installation, edges: tuple[str, ...]
) -> None:
    tenant = installation.tenant()

    async def until_paid() -> int:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            assert (await _ask(client, edges[0], tenant.billing())).status_code == httpx.codes.OK
            assert (await _ask(client, edges[0], tenant.billing())).status_code == httpx.codes.OK
            installation.platform.wallet.seed_grant(tenant.organization_id, Money.parse("100", CREDITS))
            started, count = time.monotonic(), 2
            while tenant.funds().available == 100 * _NANO:
                assert time.monotonic() - started < PATIENCE_S
                assert (await _ask(client, edges[0], tenant.billing())).status_code == httpx.codes.OK
                count += 1
            assert time.monotonic() - started < _HEARD_WITHIN_S
            return count

    count = asyncio.run(until_paid())
    tenant.events(count)


def test_a_hard_limit_that_is_set_while_calls_go_on_is_asked_about_for_each(
    installation: Installation, edges: tuple[str, ...]
) -> None:
    tenant = installation.tenant("1000")
    wallet_id = tenant.get("/api/v1/wallets")["wallets"][0]["walletId"]
    limit = {"userId": "user_123", "type": "LIMIT_TYPE_HARD", "unit": "events", "limitValue": "1000"}
    wish = {"entitlement": {**limit, "window": "LIMIT_WINDOW_DAY"}, "idempotencyKey": "limit"}

    def leases() -> int:
        return len(tenant.get(f"/api/v1/wallets/{wallet_id}/leases?pageSize=200")["leases"])

    async def call(count: int) -> None:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            for _ in range(count):
                assert (await _ask(client, edges[0], tenant.billing())).status_code == httpx.codes.OK

    asyncio.run(call(6))
    before = leases()
    asyncio.run(call(6))
    assert leases() - before < 6
    tenant.post("/api/v1/entitlements", wish)
    started = time.monotonic()

    def each_alone() -> bool:
        known = leases()
        asyncio.run(call(6))
        return leases() - known == 6

    # It holds a minute after it is written; edges hear of it at once.
    awaited(each_alone)
    assert time.monotonic() - started < 2 * _HEARD_WITHIN_S


def test_an_edge_goes_on_from_its_lease_while_the_server_is_away_and_as_before_when_it_is_back(
    installation: Installation,
) -> None:
    tenant = installation.tenant("1000")
    link = CutLink(installation.addresses.grpc)
    settings = load_settings(
        OM_PROXY_PORT=0,
        OM_PROXY_JOURNAL_DIR=tempfile.mkdtemp(prefix="om-journal-"),
        OM_GRPC_ADDRESS=installation.serve(link.running()),
        OM_SERVICE_TOKEN=SERVICE_TOKEN,
        OM_OPENAI_BASE_URL=installation.addresses.simulator,
    )
    edge = installation.serve(running(settings))
    count = 0

    async def status() -> int:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            return (await _ask(client, edge, tenant.billing())).status_code

    def ask() -> int:
        return asyncio.run(status())

    assert awaited(lambda: ask() == httpx.codes.OK)
    count += 1
    # Until the edge has a lease ahead, which is worth more than the next call.
    while tenant.funds().held < 2 * _NANO:
        assert ask() == httpx.codes.OK
        count += 1
        tenant.events(count)
    before = count
    link.cut()
    # What lies here is spent; a strict wallet never goes on without.
    away = ask()
    while away == httpx.codes.OK:
        count += 1
        away = ask()
    assert away == httpx.codes.SERVICE_UNAVAILABLE
    assert count > before
    link.mend()
    while ask() != httpx.codes.OK:
        pass
    count += 1

    tenant.events(count)
    assert awaited(lambda: tenant.funds().held == 0)
    assert installation.platform.wallet.verify(tenant.organization_id).first is None
