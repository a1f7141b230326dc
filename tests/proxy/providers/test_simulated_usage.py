"""What the simulator bills, the meters must read: the two were written apart, from the same wire facts."""

from __future__ import annotations

from typing import Any

import pytest

from om_proxy.metering.include_usage import UsageEventFilter
from tests.proxy.exchange import (
    CHAT_PATH,
    GENERATE_PATH,
    MESSAGES_PATH,
    STREAM_PATH,
    amounts,
    call_of,
    meter_in_pieces,
    pairs,
)
from tests.proxy.providers.sandbox.asking import ANSWER_TOKENS, HEADERS, QUESTION, QUESTION_TOKENS, send

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": QUESTION}]}
MESSAGE = {**CHAT, "model": "claude-opus-4-8", "max_tokens": 1_000}
CONTENT = {"contents": [{"parts": [{"text": QUESTION}]}]}

EXCHANGES = [
    pytest.param(CHAT_PATH, CHAT, {}, id="chat"),
    pytest.param(CHAT_PATH, {**CHAT, "stream": True}, {}, id="chat stream"),
    pytest.param(MESSAGES_PATH, MESSAGE, {}, id="messages"),
    pytest.param(MESSAGES_PATH, {**MESSAGE, "stream": True}, {}, id="messages stream"),
    pytest.param(GENERATE_PATH, CONTENT, {}, id="generate"),
    pytest.param(STREAM_PATH, CONTENT, {"alt": "sse"}, id="generate stream"),
    pytest.param(STREAM_PATH, CONTENT, {}, id="generate array"),
]
PLAIN = {"input_tokens": QUESTION_TOKENS, "output_tokens": ANSWER_TOKENS}


@pytest.mark.parametrize(("path", "body", "query"), EXCHANGES)
@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ("", PLAIN),
        ("usage=twice", PLAIN),
        ("usage=with_choices", PLAIN),
        ("usage=unsteady", PLAIN),
        ("usage=dropped", PLAIN),
        ("start_input_tokens=7", PLAIN),
        ("crlf=1; comments=2; pings=3; padding=9", PLAIN),
        (
            "reasoning=50; cached=100; output_tokens=20",
            {**PLAIN, "cache_read_tokens": 100, "output_tokens": 70, "reasoning_tokens": 50},
        ),
    ],
)
def test_what_is_simulated_is_what_is_read(
    path: str, body: dict[str, Any], query: dict[str, str], switches: str, expected: dict[str, int]
) -> None:
    call = call_of(path, body)
    reply = send(path, call.body, headers={**HEADERS, "x-sim": switches}, query=query)

    reading = meter_in_pieces(call, reply.frames, content_type=pairs(reply.headers)["content-type"])

    assert amounts(reading.lines[0]) == expected
    assert reading.measured


@pytest.mark.parametrize(
    "switches", ["", "reasoning=9", "crlf=1", "comments=2", "usage=with_choices", "usage=missing"]
)
def test_a_chat_stream_that_was_made_to_report_looks_as_if_it_had_not_been(switches: str) -> None:
    """But for `"usage":null`, which the provider adds to every event and every SDK ignores."""
    headers = {**HEADERS, "x-sim": switches}
    call = call_of(CHAT_PATH, {**CHAT, "stream": True})
    direct = send(CHAT_PATH, {**CHAT, "stream": True}, headers=headers)
    usage_filter = UsageEventFilter()

    proxied = b"".join(map(usage_filter.feed, send(CHAT_PATH, call.body, headers=headers).frames))

    null = b',"usage":null'
    assert (proxied + usage_filter.finish()).replace(null, b"") == direct.body.replace(null, b"")
