"""Anthropic's POST /v1/messages, plain and streamed, and the counting of its tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from om_proxy.providers.sandbox.anthropic.usage import input_usage, lasting_usage, output_usage, written
from om_proxy.providers.sandbox.body import Body, all_text, count_characters, first_tool
from om_proxy.providers.sandbox.exchange import Problem, Refused, Stamp
from om_proxy.providers.sandbox.frame import event_frame
from om_proxy.providers.sandbox.script import (
    THOUGHT,
    Ask,
    Form,
    Script,
    count_input,
    require_model,
    write_script,
)
from om_proxy.providers.sandbox.switch import Switches

_TOKENS_PER_DELTA = 4
_STOP: dict[str, object] = {"type": "message_stop"}
_Block = dict[str, object]
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'


@dataclass(frozen=True, slots=True)
class Message:
    """A message that is decided and only has to be written down."""

    script: Script
    switches: Switches
    streamed: bool


def decide(body: Body, switches: Switches) -> Message:
    """Read the request and decide the answer; raises Refused for what Anthropic refuses."""
    cap = body.integer("max_tokens")
    if cap is None:
        raise Refused(Problem(400, "max_tokens: Field required"))
    ask = Ask(
        _model(body),
        _characters(body),
        output_tokens_max=cap,
        tool=first_tool(body),
        text=all_text(body.value("messages")) if switches.echo else "",
    )
    return Message(write_script(ask, switches), switches, streamed=body.flag("stream"))


def count_body(body: Body, switches: Switches) -> bytes:
    """Answer /v1/messages/count_tokens with what a message would be charged as input."""
    _model(body)
    tokens = count_input(_characters(body), switches)
    return orjson.dumps({"input_tokens": tokens + switches.cached + written(switches)})


def message_body(message: Message, stamp: Stamp) -> bytes:
    """Write the plain answer."""
    script, switches = message.script, message.switches
    content = [_whole(block, deltas) for block, deltas in _blocks(message, stamp)]
    payload = _envelope(script, stamp) | {"content": content, **_ending(script)}
    if switches.usage != "missing":
        payload["usage"] = (
            input_usage(script.fresh_tokens, switches)
            | lasting_usage(switches)
            | output_usage(script, switches)
        )
    return orjson.dumps(payload)


def message_frames(message: Message, stamp: Stamp) -> tuple[bytes, ...]:
    """Write the streamed answer: the same text and counts; the last message_delta has the final usage."""
    switches = message.switches
    events = [
        _start(message, stamp),
        *_block_events(message, stamp),
        _delta(message.script, switches),
        _STOP,
    ]
    frames: list[bytes] = []
    for index, event in enumerate(events):
        padding = index * 5 % 17 if switches.padding is None else switches.padding
        frames.append(event_frame(event, padding))
        # Real pings come first after the start, then at any time.
        if index < switches.pings and index < len(events) - 1:
            frames.append(_PING)
    return tuple(frames)


def _model(body: Body) -> str:
    model = body.text("model")
    if not model:
        raise Refused(Problem(400, "model: Field required"))
    return require_model(model, f"model: {model}")


def _characters(body: Body) -> int:
    messages = body.items("messages")
    if messages is None:
        raise Refused(Problem(400, "messages: Field required"))
    return count_characters(messages) + count_characters(body.value("system"))


def _envelope(script: Script, stamp: Stamp) -> dict[str, object]:
    return {
        "id": f"msg_{stamp.token}",
        "type": "message",
        "role": "assistant",
        "model": script.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _start(message: Message, stamp: Stamp) -> dict[str, object]:
    """Open the stream; only here stand the split of cache writes, the tier and the region."""
    script, switches = message.script, message.switches
    envelope = _envelope(script, stamp)
    if switches.usage != "missing":
        fresh_tokens = switches.start_input_tokens
        if fresh_tokens is None:
            fresh_tokens = script.fresh_tokens
        envelope["usage"] = (
            input_usage(fresh_tokens, switches)
            | lasting_usage(switches)
            # A placeholder that the final number includes.
            | {"output_tokens": min(1, script.output_tokens)}
        )
    return {"type": "message_start", "message": envelope}


def _delta(script: Script, switches: Switches) -> dict[str, object]:
    event: dict[str, object] = {"type": "message_delta", "delta": _ending(script)}
    if switches.usage != "missing":
        event["usage"] = input_usage(script.fresh_tokens, switches) | output_usage(script, switches)
    return event


def _blocks(message: Message, stamp: Stamp) -> Iterator[tuple[_Block, list[_Block]]]:
    """Give each block as it starts, and what is added to it."""
    script = message.script
    if script.reasoning_tokens and not message.switches.silent:
        yield (
            {"type": "thinking", "thinking": "", "signature": ""},
            [
                {"type": "thinking_delta", "thinking": THOUGHT},
                {"type": "signature_delta", "signature": f"sig{stamp.token}"},
            ],
        )
    parts = script.parts(_TOKENS_PER_DELTA)
    if script.form is Form.TOOL_CALL:
        # The first piece of JSON is empty, as it often is in reality.
        pieces: list[_Block] = [{"type": "input_json_delta", "partial_json": part} for part in ("", *parts)]
        block: _Block = {"type": "tool_use", "id": f"toolu_{stamp.token}", "name": script.tool}
        yield block | {"input": {}}, pieces
    elif parts:
        yield {"type": "text", "text": ""}, [{"type": "text_delta", "text": part} for part in parts]


def _whole(block: _Block, deltas: list[_Block]) -> _Block:
    if block["type"] == "thinking":
        return block | {"thinking": THOUGHT, "signature": deltas[-1]["signature"]}
    if block["type"] == "tool_use":
        return block | {"input": _arguments("".join(str(delta["partial_json"]) for delta in deltas))}
    return block | {"text": "".join(str(delta["text"]) for delta in deltas), "citations": None}


def _arguments(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # The cap has cut them.
        return {}


def _block_events(message: Message, stamp: Stamp) -> Iterator[_Block]:
    for index, (block, deltas) in enumerate(_blocks(message, stamp)):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}


def _ending(script: Script) -> _Block:
    if script.form is Form.REFUSAL:
        details = {"type": "refusal", "category": None, "explanation": None}
        return {"stop_reason": "refusal", "stop_sequence": None, "stop_details": details}
    if script.cut:
        return {"stop_reason": "max_tokens", "stop_sequence": None}
    reason = "tool_use" if script.form is Form.TOOL_CALL else "end_turn"
    return {"stop_reason": reason, "stop_sequence": None}
