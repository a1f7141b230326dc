"""A key that is revoked while a stream flows: row 62 of the fault catalogue."""

from __future__ import annotations

import asyncio

import pytest

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.type.v1 import event_pb2, usage_pb2
from tests.proxy.admission.test_stretch import PROVIDERS, asked, last_event, rich
from tests.proxy.fake_servicer import KEY_ID, refused
from tests.proxy.one_edge import HEADERS, STREAM
from tests.proxy.raw_http import Exchange, request_bytes
from tests.proxy.upstream.test_forward import quantities
from tests.proxy.upstream.test_relay import DONE, FRAMES, USAGE
from tests.proxy_faults.scene import PATIENCE_S, Scene, code, scene

_MEASURED = usage_pb2.CERTAINTY_MEASURED


async def revoke(running: Scene) -> None:
    """Revoke the key, and wait until the proxy has heard of it."""
    revoked = edge_pb.KeyRevoked(key_id=KEY_ID)
    revoked.end_time.GetCurrentTime()
    running.proxy.server.tell(edge_pb.WatchResponse(key_revoked=revoked))
    async with asyncio.timeout(PATIENCE_S):
        # A body that cannot be read is the next thing that is refused.
        while (await running.proxy.ask(b"{")).status == 400:
            pass


@pytest.mark.acceptance("B-164", "B-171")
async def test_a_stream_whose_key_is_revoked_goes_on_to_its_end_row_62() -> None:
    revoked = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(FRAMES[0])
        await revoked.wait()
        for chunk in (*FRAMES[1:], USAGE, DONE, b""):
            await exchange.chunk(chunk)

    async with (
        scene(script) as running,
        running.proxy.caller() as stream,
        running.proxy.caller() as idle,
    ):
        await stream.send(request_bytes(STREAM, *HEADERS))
        await stream.read_head()
        got = await stream.read_chunk()
        await revoke(running)
        # Also on a connection that was there before.
        await idle.send(request_bytes(STREAM, *HEADERS))
        answer = await idle.read()
        revoked.set()
        while chunk := await stream.read_chunk():
            got += chunk
        event = await running.outcome()

    assert (answer.status, code(answer)) == (401, "invalid_api_key")
    assert got == b"".join((*FRAMES, USAGE, DONE))
    assert event.outcome == event_pb2.OUTCOME_CHARGED
    assert quantities(event) == {"input_tokens": (3, _MEASURED), "output_tokens": (2, _MEASURED)}
    assert len(running.proxy.provider.exchanges) == 1


async def test_a_stream_whose_key_is_revoked_gets_no_more_money_row_62() -> None:
    """Without a cap it ends where what was set aside for it does, and what was shown is charged."""
    path, body, frame = PROVIDERS["openai chat"]
    revoked = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(frame)
        await revoked.wait()
        for _ in range(12):
            await exchange.chunk(frame)
        await exchange.gone()

    async with scene(script) as running, running.proxy.caller() as stream:
        rich(running.proxy)
        await stream.send(asked(path, body))
        await stream.read_head()
        got = await stream.read_chunk()
        running.proxy.server.failures["Admit"] = [refused("KEY_REVOKED")] * 9
        await revoke(running)
        revoked.set()
        while chunk := await stream.read_chunk():
            got += chunk
        event = await running.outcome()

    told = last_event(got)[b"data"]
    assert isinstance(told, dict)
    assert told["error"]["code"] == "invalid_api_key"
    assert event.outcome == event_pb2.OUTCOME_ESTIMATED
    assert event.funding[0].retained_nanos >= got.count(b"x" * 1_000) * 1_000 // 4
