"""Calls that end in one turn of the loop are concluded together, each once, and before the proxy ends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from om.type.v1 import event_pb2
from om_proxy.admission.outcome import Intent
from om_proxy.call.route import RouteTable
from om_proxy.dialects.attribution import OnDisconnect
from om_proxy.providers.openai import OpenAI
from om_proxy.refusals.refusal import Problem
from om_proxy.secret import Credential, Secret
from om_proxy.upstream.client import UpstreamUnreachable
from om_proxy.upstream.departure import Departure
from om_proxy.upstream.forward import Forwarder, Origins, Sending
from tests.proxy.exchange import call_of
from tests.proxy.intents import intent_for

CHAT = "/v1/chat/completions"


class Nobody:
    """A provider that cannot be reached."""

    def send(self, *_: object, **__: object) -> object:
        raise UpstreamUnreachable(sent=False)


class Book:
    """Takes outcomes; refuses as many of the first as it is told to."""

    def __init__(self, *, failures: int = 0) -> None:
        self.outcomes: list[event_pb2.Outcome.ValueType] = []
        self._failures = failures

    async def begin(self, intent: Intent) -> None: ...

    def sent(self, intent: Intent) -> None: ...

    def checkpoint(self, *_: object) -> None: ...

    async def extended(self, *_: object) -> None: ...

    def conclude(self, intent: Intent, event: event_pb2.UsageEvent) -> None:
        if self._failures:
            self._failures -= 1
            raise ZeroDivisionError(intent.event_id)
        self.outcomes.append(event.outcome)


def forwarder(book: Book) -> Forwarder:
    origins = Origins({"openai": "http://127.0.0.1"}, "http://127.0.0.1")
    departure = Departure(OnDisconnect.CANCEL, drain_s=1, drain_bytes_max=1)
    upstream, costs = cast("Any", Nobody()), cast("Any", None)
    return Forwarder(upstream, cast("Any", book), origins=origins, costs=costs, departure=departure)


async def call(one: Forwarder) -> None:
    """Make a call that comes to nothing."""
    provider = OpenAI()
    target = RouteTable(provider.routes).match("POST", CHAT)
    assert target is not None
    intent = intent_for(call_of(CHAT, {"model": "gpt-4o", "messages": []}))
    sending = Sending(intent, provider, target, Credential("Authorization", Secret("Bearer sk")))
    request = SimpleNamespace(raw_path=CHAT, raw_headers=())
    assert isinstance(await one.forward(cast("web.BaseRequest", request), sending), Problem)


async def test_a_call_that_ended_in_the_last_turn_is_concluded_when_the_proxy_ends() -> None:
    book = Book()
    one = forwarder(book)
    await call(one)
    await one.close()
    assert book.outcomes == [event_pb2.OUTCOME_ZERO]
    await asyncio.sleep(0)
    assert len(book.outcomes) == 1


@pytest.mark.parametrize("failures", [0, 1])
async def test_a_call_that_cannot_be_concluded_does_not_keep_the_others(failures: int) -> None:
    book = Book(failures=failures)
    one = forwarder(book)
    with capture_logs() as logs:
        for _ in range(3):
            await call(one)
        await asyncio.sleep(0)
    assert len(book.outcomes) == 3 - failures
    assert [entry["event"] for entry in logs] == ["call_not_concluded"] * failures
