"""Server-sent events as each provider writes them; nothing here knows what the events mean."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import orjson

DONE = b"data: [DONE]\n\n"
COMMENT = b": keep-alive\n\n"

# Gemini writes a space after colons and none after commas, which orjson cannot; readers that match bytes
# such as `"usageMetadata":{` must fail here as they would in reality.
_GEMINI_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ": "))


def data_frame(payload: Mapping[str, object]) -> bytes:
    """OpenAI chat: no event name."""
    return b"data: " + orjson.dumps(payload) + b"\n\n"


def event_frame(payload: Mapping[str, object], padding: int) -> bytes:
    """Anthropic: the event is named after the payload's type; spaces pad the JSON, inside or after it."""
    text = orjson.dumps(payload)
    spaces = b" " * padding
    # Both places occur in reality: an odd count goes before the closing brace.
    padded = text[:-1] + spaces + text[-1:] if padding % 2 else text + spaces
    return b"event: " + str(payload["type"]).encode() + b"\ndata: " + padded + b"\n\n"


def gemini_frame(payload: Mapping[str, object]) -> bytes:
    """Gemini with alt=sse: CRLF line ends."""
    return b"data: " + _GEMINI_JSON.encode(payload).encode() + b"\r\n\r\n"


def array_frames(payloads: Iterable[Mapping[str, object]]) -> tuple[bytes, ...]:
    """Gemini without alt=sse: the pieces of one pretty-printed JSON array."""
    frames = [(b",\r\n" if index else b"[") + pretty_json(payload) for index, payload in enumerate(payloads)]
    return (*frames, b"\n]\n")


def pretty_json(payload: Mapping[str, object]) -> bytes:
    """JSON indented by two spaces, as Google's servers write it."""
    return orjson.dumps(payload, option=orjson.OPT_INDENT_2)
