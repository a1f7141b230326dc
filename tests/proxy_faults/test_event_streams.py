"""How a provider may write its events, and with which of them it may end: rows 17 and 18 of the catalogue."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from om.type.v1 import event_pb2, usage_pb2
from tests.proxy.one_edge import HEADERS
from tests.proxy.raw_http import Exchange, request_bytes
from tests.proxy.upstream.test_forward import quantities
from tests.proxy_faults.scene import Scene, scene

_MEASURED = usage_pb2.CERTAINTY_MEASURED
#: How many calls are under way at once, where there are hundreds.
_AT_ONCE = 20

#: The JSON of an event, or its text.
Frame = Mapping[str, Any] | str


@dataclass(frozen=True)
class Talk:
    """A question, and the events of an answer that says what it consumed."""

    path: str
    question: Mapping[str, Any]
    frames: Sequence[Frame]
    amounts: Mapping[str, int] = field(default_factory=lambda: {"input_tokens": 7, "output_tokens": 5})

    @property
    def body(self) -> bytes:
        return orjson.dumps(self.question)

    def read_by(self, event: event_pb2.UsageEvent) -> None:
        """Everything was read of it, and nothing guessed."""
        assert event.outcome == event_pb2.OUTCOME_CHARGED
        assert quantities(event) == {unit: (amount, _MEASURED) for unit, amount in self.amounts.items()}
        assert event.funding[0].retained_nanos > 0


_HELLO = [{"role": "user", "content": "Hi"}]
_CHAT = {
    "model": "gpt-4o",
    "max_tokens": 9,
    "stream": True,
    "stream_options": {"include_usage": True},
    "messages": _HELLO,
}
_RESPONSE = {"model": "gpt-4o", "max_output_tokens": 9, "stream": True, "input": "Hi"}
_MESSAGE = {"model": "claude-sonnet-4-5", "max_tokens": 9, "stream": True, "messages": _HELLO}
_CONTENTS = {"contents": [{"parts": [{"text": "Hi"}]}], "generationConfig": {"maxOutputTokens": 9}}
_INTERACTION = {
    "model": "gemini-3-pro",
    "input": "Hi",
    "stream": True,
    "generation_config": {"max_output_tokens": 9},
}
_GENERATE = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
_OPENAI_CHAT = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
_OPENAI = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
_GEMINI = {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12}
_INTERACTED = {"total_input_tokens": 7, "total_output_tokens": 5, "total_tokens": 12}


def _chat(*, finish: str, more: Mapping[str, Any] | None = None) -> Talk:
    shown = {"id": "c1", "model": "gpt-4o", "usage": None}
    text = {**shown, "choices": [{"index": 0, "delta": {"content": "Hel"}}]}
    end = {**shown, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}], **(more or {})}
    usage = {"id": "c1", "model": "gpt-4o", "choices": [], "usage": _OPENAI_CHAT}
    return Talk("/v1/chat/completions", _CHAT, (text, end, usage, "[DONE]"))


def _responses(status: str, **more: object) -> Talk:
    begun = {"id": "resp_1", "status": "in_progress", "model": "gpt-4o", "usage": None}
    ended = {**begun, "status": status, "usage": _OPENAI, **more}
    return Talk(
        "/v1/responses",
        _RESPONSE,
        (
            {"type": "response.created", "sequence_number": 0, "response": begun},
            {"type": "response.output_text.delta", "sequence_number": 1, "delta": "Hel"},
            {"type": f"response.{status}", "sequence_number": 2, "response": ended},
        ),
    )


def _messages(stop: str) -> Talk:
    message = {
        "type": "message",
        "model": "claude-sonnet-4-5",
        "usage": {"input_tokens": 7, "output_tokens": 1},
    }
    return Talk(
        "/v1/messages",
        _MESSAGE,
        (
            {"type": "message_start", "message": message},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
            {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 5}},
            {"type": "message_stop"},
        ),
    )


def _generate(finish: str) -> Talk:
    part = {"content": {"parts": [{"text": "Hel"}]}}
    before = {"promptTokenCount": 7, "candidatesTokenCount": 1, "totalTokenCount": 8}
    return Talk(
        _GENERATE,
        _CONTENTS,
        (
            {"candidates": [part], "usageMetadata": before, "modelVersion": "gemini-2.5-flash"},
            {"candidates": [{"finishReason": finish}], "usageMetadata": _GEMINI},
        ),
    )


def _interaction(event: str, status: str) -> Talk:
    begun = {"id": "v1_a", "model": "gemini-3-pro", "status": "in_progress"}
    return Talk(
        "/v1beta/interactions",
        _INTERACTION,
        (
            {"event_type": "interaction.created", "interaction": begun},
            {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "Hel"}},
            {"event_type": event, "interaction": {"id": "v1_a", "status": status, "usage": _INTERACTED}},
        ),
    )


_BLOCKED = Talk(
    _GENERATE,
    _CONTENTS,
    (
        {
            "promptFeedback": {"blockReason": "SAFETY"},
            "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7},
        },
    ),
    {"input_tokens": 7, "output_tokens": 0},
)


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(_chat(finish="length"), id="chat, cut off"),
        pytest.param(_chat(finish="content_filter"), id="chat, filtered"),
        pytest.param(
            _chat(finish="error", more={"error": {"code": 502, "message": "no"}}),
            id="chat, failed behind text",
        ),
        pytest.param(
            _responses("incomplete", incomplete_details={"reason": "max_output_tokens"}),
            id="response, cut off",
        ),
        pytest.param(_responses("failed", error={"code": "server_error"}), id="response, failed"),
        pytest.param(_responses("cancelled"), id="response, cancelled"),
        pytest.param(_messages("max_tokens"), id="message, cut off"),
        pytest.param(_messages("refusal"), id="message, refused"),
        pytest.param(_generate("MAX_TOKENS"), id="candidate, cut off"),
        pytest.param(_generate("SAFETY"), id="candidate, filtered"),
        pytest.param(_BLOCKED, id="prompt, blocked"),
        pytest.param(_interaction("interaction.completed", "incomplete"), id="interaction, cut off"),
        pytest.param(_interaction("interaction.failed", "failed"), id="interaction, failed"),
    ],
)
async def test_usage_on_an_end_that_is_no_success_is_counted_row_17(talk: Talk) -> None:
    answer = b"".join(plain(talk.frames))

    async def script(exchange: Exchange) -> None:
        await exchange.stream(answer, b"")

    async with scene(script) as running:
        received = await running.proxy.ask(talk.body, path=talk.path)
        event = await running.outcome()

    assert (received.body, received.whole) == (answer, True)
    talk.read_by(event)


def written(frame: Frame) -> bytes:
    return frame.encode() if isinstance(frame, str) else orjson.dumps(frame)


def plain(frames: Sequence[Frame]) -> list[bytes]:
    """Write events as the providers do."""
    return [b"data: " + written(frame) + b"\n\n" for frame in frames]


def odd(frames: Sequence[Frame]) -> list[bytes]:
    """Write events as none of them does, and each may: a mark in front, comments, a line for every value."""
    events = []
    for number, frame in enumerate(frames):
        # No text of these frames has such a character, so the document stays what it is.
        lines = written(frame) if isinstance(frame, str) else re.sub(rb"([:,{\[])", rb"\1\n", written(frame))
        data = b"".join(b"data:%b\n" % line for line in lines.split(b"\n"))
        events.append(b": ping\n\nid: %d\n" % number + data + b"retry: 5\n\n")
    return [_MARK + events[0], *events[1:]]


def ended_by(events: Sequence[bytes], newline: bytes) -> list[bytes]:
    return [event.replace(b"\n", newline) for event in events]


_MARK = b"\xef\xbb\xbf"
_WRITINGS: dict[str, Callable[[Sequence[Frame]], list[bytes]]] = {
    "LF": plain,
    "CRLF": lambda frames: ended_by(plain(frames), b"\r\n"),
    "CR": lambda frames: ended_by(plain(frames), b"\r"),
    "mixed": lambda frames: [event.replace(b"\n\n", b"\r\n\n") for event in plain(frames)],
    "odd": odd,
    "odd CRLF": lambda frames: ended_by(odd(frames), b"\r\n"),
    "odd CR": lambda frames: ended_by(odd(frames), b"\r"),
    "without the last empty line": lambda frames: [*plain(frames[:-1]), plain(frames)[-1].rstrip()],
}
_CHAT_TALK = pytest.param(_chat(finish="stop"), id="chat")
_GENERATE_TALK = pytest.param(_generate("STOP"), id="generate")


@dataclass
class Turns:
    """Answers in pieces, each of which is sent when the caller has the one before it."""

    _answers: list[tuple[Sequence[bytes], asyncio.Semaphore]] = field(default_factory=list)

    async def script(self, exchange: Exchange) -> None:
        pieces, passed = self._answers[int(exchange.named("X-Turn")[0])]
        await exchange.stream()
        for piece in pieces:
            await exchange.chunk(piece)
            await passed.acquire()
        await exchange.chunk(b"")

    async def ask(self, running: Scene, talk: Talk, pieces: Sequence[bytes]) -> None:
        passed = asyncio.Semaphore(0)
        self._answers.append((pieces, passed))
        turn = f"X-Turn: {len(self._answers) - 1}"
        async with running.proxy.caller() as caller:
            await caller.send(request_bytes(talk.body, *HEADERS, turn, path=talk.path))
            await caller.read_head()
            for piece in pieces:
                got = b""
                while len(got) < len(piece):
                    got += await caller.read_chunk()
                assert got == piece
                passed.release()
            assert await caller.read_chunk() == b""


@pytest.mark.parametrize(
    "talk",
    [
        _CHAT_TALK,
        pytest.param(_responses("completed"), id="responses"),
        pytest.param(_messages("end_turn"), id="messages"),
        _GENERATE_TALK,
    ],
)
@pytest.mark.acceptance("B-022")
async def test_events_in_any_writing_say_the_same_row_18(talk: Talk) -> None:
    """All at once, and one by one."""
    turns, count = Turns(), 0
    async with scene(turns.script) as running:
        for writing in _WRITINGS.values():
            events = writing(talk.frames)
            for pieces in ([b"".join(events)], events):
                await turns.ask(running, talk, pieces)
                count += 1
                talk.read_by((await running.outcomes(count))[-1])


@pytest.mark.parametrize("talk", [_CHAT_TALK, _GENERATE_TALK])
async def test_events_that_are_cut_at_any_byte_say_the_same_row_18(talk: Talk) -> None:
    body = b"".join(ended_by(odd(talk.frames), b"\r\n"))
    turns, cuts = Turns(), iter(range(1, len(body)))

    async def ask(running: Scene) -> None:
        for cut in cuts:
            await turns.ask(running, talk, (body[:cut], body[cut:]))

    async with scene(turns.script) as running:
        await asyncio.gather(*(ask(running) for _ in range(_AT_ONCE)))
        events = await running.outcomes(len(body) - 1)

    for event in events:
        talk.read_by(event)
