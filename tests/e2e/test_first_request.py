"""One request by an official client, through the proxy, to the nano in the wallet, on both databases."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import openai
import pytest

from om_proxy.app import running as proxy_running
from om_proxy.providers import sandbox
from om_proxy.settings import load_settings
from om_server import wiring
from om_server.command import seed_development
from om_server.demo import DEVELOPMENT_KEY
from om_server.pipeline.worker import drain
from om_server.rpc.server import RpcServer, RpcSettings
from tests.server.conftest import database, postgres_template, sqlite_template

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from om_server.storage.database import Database

__all__ = ["database", "postgres_template", "sqlite_template"]

_TOKEN = "service-token-of-the-test"
_SEEDED = 10_000 * 10**9
#: gpt-4o: 2.50 dollars a million in, 10 out; the simulator answers 16 tokens to 2; 1,000 credits a dollar.
_CHARGE = (2 * 2_500 + 16 * 10_000) * 1_000
_HEADERS = {
    "X-OM-Api-Key": DEVELOPMENT_KEY,
    "X-OM-Customer-Id": "acme",
    "X-OM-User-Id": "user_123",
    "X-OM-Feature-Id": "ai-chat",
}


@asynccontextmanager
async def _platform(platform: wiring.Platform) -> AsyncIterator[str]:
    """Serve gRPC, a simulator and a proxy in front of it; gives the proxy's address."""
    server = RpcServer(
        platform.servicers,
        platform.account.authenticator(),
        settings=RpcSettings("127.0.0.1:0"),
        service_token=_TOKEN,
        new_request_id=lambda: platform.ids.new("req"),
    )
    port = await server.start()
    try:
        async with sandbox.running() as simulator:
            settings = load_settings(
                OM_PROXY_PORT=0,
                OM_GRPC_ADDRESS=f"127.0.0.1:{port}",
                OM_SERVICE_TOKEN=_TOKEN,
                OM_OPENAI_BASE_URL=simulator.url,
                OM_ANTHROPIC_BASE_URL=simulator.url,
                OM_GEMINI_BASE_URL=simulator.url,
            )
            # Leaving the block ships every report, so that afterwards only settling is left.
            async with proxy_running(settings) as url:
                yield url
    finally:
        await server.stop(5)


async def _ask(url: str, *, stream: bool, headers: dict[str, str], model: str = "gpt-4o") -> str:
    client = openai.AsyncOpenAI(api_key="sk-test", base_url=f"{url}/v1", default_headers=headers)
    async with client:
        if not stream:
            answer = await client.chat.completions.create(
                model=model, max_tokens=50, messages=[{"role": "user", "content": "Hi there"}]
            )
            return answer.choices[0].message.content or ""
        chunks = await client.chat.completions.create(
            model=model, max_tokens=50, stream=True, messages=[{"role": "user", "content": "Hi there"}]
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


def _settled(platform: wiring.Platform, organization_id: str) -> tuple[int, int]:
    drain(platform.worker)
    wallet = platform.wallet.get_wallet(organization_id)
    return wallet.available, wallet.held


@pytest.mark.asyncio
@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_is_charged_exactly_once_and_to_the_nano(database: Database, *, stream: bool) -> None:
    platform = wiring.build(database)
    organization_id = seed_development(platform)

    async with _platform(platform) as url:
        assert await _ask(url, stream=stream, headers=_HEADERS)

    assert _settled(platform, organization_id) == (_SEEDED - _CHARGE, 0)


@pytest.mark.asyncio
async def test_the_sandbox_charges_nothing(database: Database) -> None:
    platform = wiring.build(database)
    organization_id = seed_development(platform)

    async with _platform(platform) as url:
        assert await _ask(url, stream=False, headers={**_HEADERS, "X-Sandbox": "true"})

    assert _settled(platform, organization_id) == (_SEEDED, 0)


@pytest.mark.asyncio
async def test_an_unknown_model_is_refused_where_a_strict_wallet_pays(database: Database) -> None:
    platform = wiring.build(database)
    organization_id = seed_development(platform)

    async with _platform(platform) as url:
        with pytest.raises(openai.APIStatusError) as caught:
            await _ask(url, stream=False, headers=_HEADERS, model="a-model-nobody-knows")

    assert (caught.value.status_code, caught.value.code) == (402, "price_unknown")
    assert _settled(platform, organization_id) == (_SEEDED, 0)


@pytest.mark.asyncio
async def test_an_unknown_key_is_refused(database: Database) -> None:
    platform = wiring.build(database)
    seed_development(platform)

    async with _platform(platform) as url:
        with pytest.raises(openai.AuthenticationError) as caught:
            await _ask(url, stream=False, headers={**_HEADERS, "X-OM-Api-Key": "om_live_wrong"})

    assert caught.value.code == "invalid_api_key"
