"""Anthropic's POST /v1/messages, plain and streamed, and the counting of its tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from om_proxy.providers.sandbox.body import Body, count_characters
from om_proxy.providers.sandbox.exchange import Problem, Refused, Stamp
from om_proxy.providers.sandbox.frame import event_frame
from om_proxy.providers.sandbox.script import THOUGHT, Ask, Script, count_input, require_model, write_script
from om_proxy.providers.sandbox.switch import Switches

_TOKENS_PER_DELTA = 4
_STOP: dict[str, object] = {"type": "message_stop"}
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
    ask = Ask(_model(body), _characters(body), output_tokens_max=cap)
    return Message(write_script(ask, switches), switches, streamed=body.flag("stream"))


def count_body(body: Body, switches: Switches) -> bytes:
    """Answer /v1/messages/count_tokens with what a message would be charged as input."""
    _model(body)
    tokens = count_input(_characters(body), switches)
    return orjson.dumps({"input_tokens": tokens + switches.cached + _written(switches)})


def message_body(message: Message, stamp: Stamp) -> bytes:
    """Write the plain answer."""
    script, switches = message.script, message.switches
    content: list[dict[str, object]] = []
    if script.reasoning_tokens:
        content.append({"type": "thinking", "thinking": THOUGHT, "signature": _signature(stamp)})
    if script.text:
        content.append({"type": "text", "text": script.text, "citations": None})
    payload = _envelope(script, stamp) | {"content": content, "stop_reason": _stop_reason(script)}
    if switches.usage != "missing":
        payload["usage"] = (
            _input_usage(script.fresh_tokens, switches) | _lasting_usage(switches) | _output_usage(script)
        )
    return orjson.dumps(payload)


def message_frames(message: Message, stamp: Stamp) -> tuple[bytes, ...]:
    """Write the streamed answer: the same text and counts; the last message_delta has the final usage."""
    switches = message.switches
    events = [
        _start(message, stamp),
        *_block_events(message.script, stamp),
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
            _input_usage(fresh_tokens, switches)
            | _lasting_usage(switches)
            # A placeholder that the final number includes.
            | {"output_tokens": min(1, script.output_tokens)}
        )
    return {"type": "message_start", "message": envelope}


def _delta(script: Script, switches: Switches) -> dict[str, object]:
    delta = {"stop_reason": _stop_reason(script), "stop_sequence": None}
    event: dict[str, object] = {"type": "message_delta", "delta": delta}
    if switches.usage != "missing":
        event["usage"] = _input_usage(script.fresh_tokens, switches) | _output_usage(script)
    return event


def _block_events(script: Script, stamp: Stamp) -> Iterator[dict[str, object]]:
    blocks: list[tuple[dict[str, object], list[dict[str, object]]]] = []
    if script.reasoning_tokens:
        deltas: list[dict[str, object]] = [
            {"type": "thinking_delta", "thinking": THOUGHT},
            {"type": "signature_delta", "signature": _signature(stamp)},
        ]
        blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, deltas))
    if script.text:
        deltas = [{"type": "text_delta", "text": part} for part in script.parts(_TOKENS_PER_DELTA)]
        blocks.append(({"type": "text", "text": ""}, deltas))
    for index, (block, deltas) in enumerate(blocks):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}


def _input_usage(fresh_tokens: int, switches: Switches) -> dict[str, object]:
    """Count as Anthropic does: fresh, written and cached input exclude one another."""
    return {
        "input_tokens": fresh_tokens,
        "cache_creation_input_tokens": _written(switches),
        "cache_read_input_tokens": switches.cached,
    }


def _lasting_usage(switches: Switches) -> dict[str, object]:
    """Say what a stream reports only at its start."""
    return {
        "cache_creation": {
            "ephemeral_5m_input_tokens": switches.cache_write_5m,
            "ephemeral_1h_input_tokens": switches.cache_write_1h,
        },
        "service_tier": switches.tier or "standard",
        "inference_geo": "global",
    }


def _output_usage(script: Script) -> dict[str, object]:
    usage: dict[str, object] = {"output_tokens": script.output_tokens}
    if script.reasoning_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": script.reasoning_tokens}
    return usage


def _written(switches: Switches) -> int:
    return switches.cache_write_5m + switches.cache_write_1h


def _stop_reason(script: Script) -> str:
    return "max_tokens" if script.cut else "end_turn"


def _signature(stamp: Stamp) -> str:
    return f"sig{stamp.token}"
