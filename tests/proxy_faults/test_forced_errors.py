"""An error with a secret in its text, wherever something is waited for: row 76 of the fault catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web
from aiohttp.http import StreamWriter

from om_proxy.upstream.answer import Answer
from om_proxy.upstream.connection import Connection
from om_proxy.upstream.dialer import Dialer
from om_proxy.upstream.pool import Pool
from tests.proxy.one_edge import ANSWER, HEADERS, STREAM
from tests.proxy.raw_http import Exchange, request_bytes
from tests.proxy.upstream.test_relay import DONE, FRAMES, USAGE
from tests.proxy_faults.scene import scene

_SECRET = "sk-canary, a prompt and an answer"

#: Everything that a call waits for, by who is asked.
_AWAITED: tuple[tuple[type, str], ...] = (
    (Pool, "connection"),
    (Dialer, "dial"),
    (Connection, "ask"),
    (Answer, "part"),
    (aiohttp.StreamReader, "readany"),
    (web.StreamResponse, "prepare"),
    (web.StreamResponse, "write"),
    (web.StreamResponse, "write_eof"),
    (web.BaseRequest, "_prepare_hook"),
    (StreamWriter, "write"),
    (StreamWriter, "write_eof"),
    (StreamWriter, "drain"),
    (grpc.aio.UnaryUnaryCall, "__await__"),
)
_ERRORS: tuple[Callable[[str], Exception], ...] = (
    RuntimeError,
    ValueError,
    OSError,
    ConnectionResetError,
    TimeoutError,
    aiohttp.ClientError,
    aiohttp.ClientPayloadError,
    lambda text: UnicodeDecodeError("utf-8", text.encode(), 0, 1, text),
)


async def script(exchange: Exchange) -> None:
    if b'"stream":true' in exchange.body:
        await exchange.stream(*FRAMES, USAGE, DONE, b"")
    else:
        await exchange.answer(ANSWER)


@pytest.mark.parametrize("error", range(len(_ERRORS)))
@pytest.mark.parametrize(
    ("owner", "name"), _AWAITED, ids=[f"{owner.__name__}.{name}" for owner, name in _AWAITED]
)
async def test_no_error_brings_its_text_along_row_76(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, error: int
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise _ERRORS[error](_SECRET)

    async with scene(script) as running:
        # Its keys and cards are known: what breaks is the call itself.
        await running.proxy.ask()
        for body in (STREAM, b"{}"):
            with monkeypatch.context() as patched:
                patched.setattr(owner, name, broken)
                async with running.proxy.caller() as connection:
                    await connection.send(request_bytes(body, *HEADERS))
                    try:
                        answer = await connection.read()
                    except (OSError, EOFError):
                        continue
                    assert b"canary" not in answer.body
                    assert "canary" not in repr(answer.headers)
        again = await running.proxy.ask()
        assert again.status in {200, 503}
        await running.proxy.server.until(lambda: len(running.proxy.server.events) >= 2)

    identities = [event.event_id for event in running.proxy.server.events]
    assert len(identities) == len(set(identities))
