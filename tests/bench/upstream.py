"""A provider that costs next to nothing: one fixed, valid OpenAI answer, with usage, to every request.

What kind of answer, the request says in the name of its user.

The provider simulator computes its answers and would be the slowest part of the chain. A stream is
written piece by piece on separate turns of the loop, as a provider sends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import deque
from typing import cast

import uvloop

_MODEL = "gpt-4o-2024-08-06"
_TEXT = "The meter reads what the provider says, and the wallet pays for what the meter reads."
_WORDS = _TEXT.split(" ")
_USAGE = {"prompt_tokens": 212, "completion_tokens": len(_WORDS), "total_tokens": 212 + len(_WORDS)}
#: A user whose streams have so many chunks, and one whose streams stand still behind their beginning.
LONG, HELD = "bench-long", "bench-held"
LONG_CHUNKS = 2_000
_COMMON = {"id": "chatcmpl-bench", "created": 1_760_000_000, "model": _MODEL, "service_tier": "default"}


def _plain() -> bytes:
    message = {"role": "assistant", "content": _TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    answer = {**_COMMON, "object": "chat.completion", "choices": [choice], "usage": _USAGE}
    body = json.dumps(answer).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _chunk(delta: dict[str, str] | None, *, finish: str | None = None) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    usage = _USAGE if delta is None else None
    event = {**_COMMON, "object": "chat.completion.chunk", "choices": choices, "usage": usage}
    return _framed(b"data: " + json.dumps(event).encode() + b"\n\n")


def _framed(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _stream_of(words: list[str]) -> tuple[bytes, ...]:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return (
        head + _chunk({"role": "assistant", "content": ""}),
        *(_chunk({"content": f"{word} "}) for word in words),
        _chunk({}, finish="stop"),
        _chunk(None),
        _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n",
    )


class Answerer(asyncio.Protocol):
    """One connection. Requests have a Content-Length and are not pipelined."""

    _plain = _plain()
    _streamed = _stream_of(_WORDS)
    _long = _stream_of((_WORDS * LONG_CHUNKS)[:LONG_CHUNKS])

    def __init__(self) -> None:
        self._received = b""
        self._pieces: deque[bytes] = deque()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The loop's own class, which only looks like a transport.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._received = b""
        self._pieces.extend(self._answer(body))
        self._write()

    def _answer(self, body: bytes) -> tuple[bytes, ...]:
        if b'"stream":true' not in body:
            return (self._plain,)
        if HELD.encode() in body:
            return self._streamed[:2]
        return self._long if LONG.encode() in body else self._streamed

    def _write(self) -> None:
        if self._transport is None or not self._pieces:
            return
        self._transport.write(self._pieces.popleft())
        if self._pieces:
            self._loop.call_soon(self._write)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Answerer, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
