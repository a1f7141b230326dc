"""A whole proxy on a socket, between a scripted provider and a fake server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from om_proxy.app import running
from om_proxy.settings import ProxySettings, load_settings
from tests.proxy.fake_servicer import KEY, SERVICE_TOKEN, FakeServer, fake_server
from tests.proxy.raw_http import (
    Caller,
    Exchange,
    Received,
    Script,
    ScriptedProvider,
    caller,
    provider,
    request_bytes,
)

#: A port of the discard service, on which nothing listens.
UNREACHABLE = "http://127.0.0.1:9"
PROVIDER_KEY = "sk-canary-of-the-provider"
CHAT = b'{"model":"gpt-4o","max_tokens":9,"messages":[{"role":"user","content":"Hi there"}]}'
STREAM = CHAT[:-1] + b',"stream":true,"stream_options":{"include_usage":true}}'
ANSWER = (
    b'{"id":"c1","model":"gpt-4o","choices":[{"message":{"content":"Hello"}}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
)
ATTRIBUTION = (
    f"X-OM-Api-Key: {KEY}",
    "X-OM-Customer-Id: acme",
    "X-OM-User-Id: user_1",
    "X-OM-Feature-Id: chat",
)
HEADERS = (*ATTRIBUTION, f"Authorization: Bearer {PROVIDER_KEY}", "Content-Type: application/json")


@dataclass
class Edge:
    """The proxy, what is behind it, and the server that it asks."""

    url: str
    provider: ScriptedProvider
    server: FakeServer

    async def ask(self, body: bytes = CHAT, *headers: str, path: str = "/v1/chat/completions") -> Received:
        """Make one call with every header that it needs."""
        async with self.caller() as connection:
            await connection.send(request_bytes(body, *HEADERS, *headers, path=path))
            return await connection.read()

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        async with caller(self.url) as connection:
            yield connection


def settings_for(server: FakeServer, origin: str, **more: object) -> ProxySettings:
    """Settings of a proxy with a journal of its own, which goes with the fake server."""
    values: dict[str, object] = {
        "OM_PROXY_PORT": 0,
        "OM_PROXY_JOURNAL_DIR": str(server.new_folder()),
        "OM_GRPC_ADDRESS": server.address,
        "OM_SERVICE_TOKEN": SERVICE_TOKEN,
        "OM_OPENAI_BASE_URL": origin,
        "OM_ANTHROPIC_BASE_URL": origin,
        "OM_GEMINI_BASE_URL": origin,
        **more,
    }
    return load_settings(**values)


@asynccontextmanager
async def edge(script: Script, *, origin: str = "", **settings: object) -> AsyncIterator[Edge]:
    """Run everything until the block is left; `settings` are variables of the proxy."""
    async with (
        fake_server() as server,
        provider(script) as scripted,
        running(settings_for(server, origin or scripted.url, **settings)) as url,
    ):
        yield Edge(url, scripted, server)


async def answers(exchange: Exchange) -> None:
    """The usual script: a chat completion with usage."""
    await exchange.answer(ANSWER)
