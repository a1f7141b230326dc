"""A stream is written down while it goes on: asking a reader midway must not change what it says at last."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from om_proxy.metering.reading import Flag
from tests.proxy.exchange import MESSAGES_PATH, STREAM_PATH, call_of, provider_named

MESSAGE: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {"id": "m", "model": "c", "usage": {"input_tokens": 9, "output_tokens": 1}},
    },
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "message_delta", "delta": {}, "usage": {"input_tokens": 9, "output_tokens": 4}},
]
CONTENT: list[dict[str, Any]] = [
    {"candidates": [{"content": {"parts": [{"text": "a"}]}}], "usageMetadata": {"promptTokenCount": 5}},
    {
        "candidates": [{"finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7},
    },
]
INTERACTION: list[dict[str, Any]] = [
    {"interaction": {"id": "i", "model": "g", "status": "in_progress"}},
    {
        "interaction": {
            "id": "i",
            "status": "completed",
            "usage": {"total_input_tokens": 5, "total_output_tokens": 2},
        }
    },
]


@pytest.mark.parametrize(
    ("path", "body", "frames"),
    [
        (MESSAGES_PATH, {"model": "c", "max_tokens": 9, "messages": [], "stream": True}, MESSAGE),
        (STREAM_PATH, {"contents": []}, CONTENT),
        ("/v1beta/interactions", {"model": "g", "input": "Hi", "stream": True}, INTERACTION),
    ],
)
def test_asking_in_the_middle_changes_nothing(path: str, body: object, frames: list[dict[str, Any]]) -> None:
    call = call_of(path, body)
    asked, silent = (provider_named(call.provider).reader(call) for _ in range(2))

    for frame in frames:
        if frame is not frames[0]:
            assert Flag.INCOMPLETE in asked.metered().flags
        for reader in (asked, silent):
            reader.read(orjson.dumps(frame))

    assert asked.metered() == asked.metered() == silent.metered()
    assert asked.metered().measured
    assert Flag.INCOMPLETE not in asked.metered().flags
