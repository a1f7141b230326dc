"""OpenAI's POST /v1/chat/completions, plain and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from om_proxy.providers.sandbox.body import Body, all_text, count_characters, first_tool
from om_proxy.providers.sandbox.exchange import Stamp
from om_proxy.providers.sandbox.frame import COMMENT, DONE, data_frame
from om_proxy.providers.sandbox.openai.chat_usage import chat_usage
from om_proxy.providers.sandbox.openai.refusals import missing, required_model, several, stream_options
from om_proxy.providers.sandbox.script import Ask, Form, Script, write_script
from om_proxy.providers.sandbox.switch import Switches

# A provider streams about a token at a time.
_TOKENS_PER_CHUNK = 1
_CHOICES_MAX = 128
_OBFUSCATION = "kQ7xZpB2mV9c"
# The tier that serves a request which asks for the left one; others serve themselves.
_SERVED_TIERS = {"auto": "default", "fast": "priority"}


@dataclass(frozen=True, slots=True)
class Completion:
    """A chat completion that is decided and only has to be written down."""

    script: Script
    switches: Switches
    tier: str
    streamed: bool
    include_usage: bool
    obfuscated: bool
    shim: bool = False  # Gemini's compatible endpoint.


def decide(body: Body, switches: Switches, *, shim: bool = False) -> Completion:
    """Read the request and decide the answer; raises Refused for what OpenAI refuses."""
    ask = _read_ask(body, echo=switches.echo)
    options = stream_options(body)
    script = write_script(ask, switches)
    requested_tier = body.text("service_tier") or "auto"
    return Completion(
        script=script,
        switches=switches,
        tier=switches.tier or _SERVED_TIERS.get(requested_tier, requested_tier),
        streamed=body.flag("stream"),
        include_usage=options.flag("include_usage"),
        # Only OpenAI itself pads.
        obfuscated=not shim and not switches.flavour and options.value("include_obfuscation") is not False,
        shim=shim,
    )


def completion_body(completion: Completion, stamp: Stamp) -> bytes:
    """Write the plain answer."""
    script = completion.script
    message = {"role": "assistant", **_content(script, stamp), "annotations": []}
    reason = _finish_reason(script)
    payload: dict[str, object] = {
        "id": f"chatcmpl-{stamp.token}",
        "object": "chat.completion",
        "created": stamp.created,
        "model": script.model,
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": reason}
            for index in range(script.choices)
        ],
    }
    if completion.switches.usage != "missing":
        payload["usage"] = _usage(completion)
    payload |= {"service_tier": completion.tier, "system_fingerprint": None}
    return orjson.dumps(payload)


def completion_frames(completion: Completion, stamp: Stamp) -> tuple[bytes, ...]:
    """Write the streamed answer: the same text and counts, a token per chunk."""
    head: dict[str, object] = {
        "id": f"chatcmpl-{stamp.token}",
        "object": "chat.completion.chunk",
        "created": stamp.created,
        "model": completion.script.model,
        "service_tier": completion.tier,
        "system_fingerprint": None,
    }
    frames = [
        data_frame(head | chunk | _obfuscation(completion, index))
        for index, chunk in enumerate(_chunks(completion, stamp))
    ]
    if completion.switches.azure:
        empty = {"choices": [], "model": "", "prompt_filter_results": [{"prompt_index": 0}]}
        frames.insert(0, data_frame(head | empty))
    return (*[COMMENT] * completion.switches.comments, *frames, DONE)


def _read_ask(body: Body, *, echo: bool) -> Ask:
    model = required_model(body)
    messages = body.items("messages")
    if messages is None:
        raise missing("messages")
    cap = body.integer("max_completion_tokens")
    return Ask(
        model=model,
        characters=count_characters(messages),
        output_tokens_max=body.integer("max_tokens") if cap is None else cap,
        choices=several(body, "n", _CHOICES_MAX),
        tool=first_tool(body),
        text=all_text(messages) if echo else "",
    )


def _usage(completion: Completion) -> dict[str, object]:
    return chat_usage(completion.script, completion.switches, shim=completion.shim)


def _content(script: Script, stamp: Stamp) -> dict[str, object]:
    match script.form:
        case Form.REFUSAL:
            return {"content": None, "refusal": script.text}
        case Form.TOOL_CALL:
            function = {"name": script.tool, "arguments": script.text}
            call = {"id": _call_id(stamp), "type": "function", "function": function}
            return {"content": None, "refusal": None, "tool_calls": [call]}
        case _:
            return {"content": script.text, "refusal": None}


def _call_id(stamp: Stamp) -> str:
    return f"call_{stamp.token}"


def _chunks(completion: Completion, stamp: Stamp) -> list[dict[str, object]]:
    """Write what differs from chunk to chunk; usage stands where request, switch or provider wants it."""
    choices = _choices(completion.script, stamp)
    chunks: list[dict[str, object]] = [{"choices": [choice]} for choice in choices]
    switches = completion.switches
    if switches.usage == "missing":
        return chunks
    asked = completion.include_usage
    if asked and not switches.flavour:
        for chunk in chunks:
            chunk["usage"] = None
    if switches.flavour == "groq":
        # Asked for or not; a newer stream has it in both places of one chunk.
        chunks[-1]["x_groq"] = {"id": f"req_{stamp.token}", "usage": _usage(completion)}
    if switches.flavour or switches.usage == "with_choices" or (switches.usage == "twice" and asked):
        chunks[-1]["usage"] = _usage(completion)
    if asked and not switches.flavour and switches.usage != "with_choices":
        chunks.append({"choices": [], "usage": _usage(completion)})
    return chunks


def _choices(script: Script, stamp: Stamp) -> Iterator[dict[str, object]]:
    """Interleave the choices as OpenAI does: all openings, then part by part, then all endings."""
    deltas: list[tuple[dict[str, object], str | None]] = [
        ({"role": "assistant", "content": "", "refusal": None}, None),
    ]
    deltas += [(delta, None) for delta in _deltas(script, stamp)]
    deltas += [({}, _finish_reason(script))]
    for delta, reason in deltas:
        for index in range(script.choices):
            yield {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


def _deltas(script: Script, stamp: Stamp) -> Iterator[dict[str, object]]:
    parts = script.parts(_TOKENS_PER_CHUNK)
    if script.form is Form.TOOL_CALL:
        opening = {"name": script.tool, "arguments": ""}
        call = {"index": 0, "id": _call_id(stamp), "type": "function", "function": opening}
        yield {"tool_calls": [call]}
        for part in parts:
            yield {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}
        return
    name = "refusal" if script.form is Form.REFUSAL else "content"
    for part in parts:
        yield {name: part}


def _finish_reason(script: Script) -> str:
    if script.cut:
        return "length"
    return "tool_calls" if script.form is Form.TOOL_CALL else "stop"


def _obfuscation(completion: Completion, index: int) -> dict[str, object]:
    if not completion.obfuscated:
        return {}
    return {"obfuscation": _OBFUSCATION[: 1 + index * 5 % len(_OBFUSCATION)]}
