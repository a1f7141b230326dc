"""Where anybody may write directives, they go only so far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest
import pytest_asyncio

from om_proxy.providers.sandbox import Incoming, Reply, Simulator, respond, running, server
from om_proxy.providers.sandbox.allowance import PUBLIC_MAXIMA
from om_proxy.providers.sandbox.shelf import Shelf
from tests.proxy.providers.sandbox.asking import CHAT, HEADERS, KEY, QUESTION, STAMP

BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": QUESTION}]}


def ask(directives: str, *, public: bool = True, model: str = "gpt-4o", **more: object) -> Reply:
    body = orjson.dumps({**BODY, "model": model, **more})
    headers = {**HEADERS, "x-sim": directives}
    return respond(Incoming("POST", CHAT, {}, headers, body), STAMP, public=public)


@pytest.mark.parametrize(("name", "maximum"), PUBLIC_MAXIMA.items())
def test_a_directive_goes_as_far_as_everybody_may_and_no_further(name: str, maximum: int) -> None:
    assert ask(f"{name}={maximum}").status == 200
    assert ask(f"{name}={maximum + 1}").status == 400
    refused = ask("", model=f"gpt-4o--sim.{name}.{maximum + 1}")
    assert refused.status == 400
    assert name in orjson.loads(refused.body)["error"]["message"]


@pytest.mark.parametrize("public", [False, True])
def test_many_choices_share_what_one_may_write(*, public: bool) -> None:
    assert ask("output_tokens=1000", n=20, public=public).status == 200
    assert ask("output_tokens=1001", n=20, public=public).status == 400


def test_an_invented_id_does_not_raise_what_everybody_may() -> None:
    facts = {"m": "gpt-5", "c": 4, "s": "output_tokens=150000"}
    kept = Shelf()
    kept.put("resp_" + "0" * 24, orjson.dumps(facts))
    polled = Incoming("GET", "/v1/responses/resp_" + "0" * 24, {}, HEADERS, b"")

    assert respond(polled, STAMP, shelf=kept, public=False).status == 200
    assert respond(polled, STAMP, shelf=kept, public=True).status == 400


@pytest_asyncio.fixture
async def sandbox(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulator]:
    monkeypatch.setattr(server, "ANSWER_SECONDS_MAX", 0.05)
    async with running(public=True) as simulator:
        yield simulator


@pytest.mark.parametrize("directives", ["hang_after=1", "hang_after=0", "interval_ms=1000", "delay_ms=30000"])
async def test_an_answer_without_end_is_cut_off(sandbox: Simulator, directives: str) -> None:
    headers = {"authorization": f"Bearer {KEY}", "x-sim": directives}
    async with asyncio.timeout(5), aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            async with session.post(
                f"{sandbox.url}{CHAT}", json={**BODY, "stream": True}, headers=headers
            ) as answer:
                await answer.read()


async def test_what_one_caller_stores_is_not_shown_to_another() -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    async with running(public=True) as simulator, aiohttp.ClientSession(headers=headers) as session:
        ids = []
        for _ in range(2):
            form = aiohttp.FormData({"purpose": "batch"})
            form.add_field("file", b"{}", filename="a.jsonl")
            async with session.post(f"{simulator.url}/v1/files", data=form) as answer:
                ids.append((await answer.json())["id"])
        async with session.get(f"{simulator.url}/v1/files") as answer:
            listed = await answer.json()
        async with session.get(f"{simulator.url}/v1/files/{ids[0]}") as answer:
            assert answer.status == 200

    assert listed["data"] == []
    # Nothing of one tells the other.
    assert ids[0][5:13] != ids[1][5:13]
