"""Requests for the pure tests of the simulator, and readers of what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from om_proxy.providers.sandbox import Incoming, Reply, Stamp, respond

KEY = "sk-a-key-that-nobody-may-see"
STAMP = Stamp(token="0123456789abcdef01234567", created=1_763_690_000)

# A key in every family's place: addresses decide whose is looked at.
HEADERS = {
    "authorization": f"Bearer {KEY}",
    "x-api-key": KEY,
    "x-goog-api-key": KEY,
    "anthropic-version": "2023-06-01",
}

QUESTION = "How are you?"  # Twelve characters: three tokens.
QUESTION_TOKENS = 3
ANSWER = "The simulator answers every question with this same sentence."
ANSWER_TOKENS = 16

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
GENERATE = "/v1beta/models/gemini-2.5-flash:generateContent"
STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"


def send(
    path: str,
    body: object,
    *,
    method: str = "POST",
    headers: Mapping[str, str] = HEADERS,
    query: Mapping[str, str] | None = None,
) -> Reply:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return respond(Incoming(method, path, query or {}, headers, raw), STAMP)


def chat(sim: str = "", **fields: object) -> Reply:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": QUESTION}], **fields}
    return send(CHAT, body, headers={**HEADERS, "x-sim": sim})


def message(sim: str = "", *, path: str = MESSAGES, **fields: object) -> Reply:
    body = {
        "model": "claude-opus-4-8",
        "max_tokens": 1_000_000,
        "messages": [{"role": "user", "content": QUESTION}],
        **fields,
    }
    return send(path, body, headers={**HEADERS, "x-sim": sim})


def generate(sim: str = "", *, path: str = GENERATE, alt: str = "sse", **fields: object) -> Reply:
    body = {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}], **fields}
    query = {"alt": alt} if path == STREAM and alt else {}
    return send(path, body, headers={**HEADERS, "x-sim": sim}, query=query)


def parsed(reply: Reply) -> Any:
    assert reply.status == 200, reply.body
    return orjson.loads(reply.body)


def error(reply: Reply) -> Any:
    assert reply.status >= 400
    return orjson.loads(reply.body)["error"]


def events(reply: Reply) -> list[Any]:
    """Parse the data of every event, but [DONE]."""
    assert reply.status == 200, reply.body
    lines = reply.body.replace(b"\r\n", b"\n").split(b"\n")
    data = [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]
    return [orjson.loads(text) for text in data if text != b"[DONE]"]


def named(reply: Reply, kind: str) -> list[Any]:
    return [event for event in events(reply) if event["type"] == kind]
