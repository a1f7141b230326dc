"""OpenAI's POST /v1/chat/completions, plain and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from om_proxy.providers.sandbox.body import Body, count_characters
from om_proxy.providers.sandbox.exchange import Problem, Refused, Stamp
from om_proxy.providers.sandbox.frame import COMMENT, DONE, data_frame
from om_proxy.providers.sandbox.script import Ask, Script, require_model, write_script
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


def decide(body: Body, switches: Switches) -> Completion:
    """Read the request and decide the answer; raises Refused for what OpenAI refuses."""
    ask = _read_ask(body)
    options = body.section("stream_options")
    streamed = body.flag("stream")
    if options.fields and not streamed:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refused(Problem(400, message, param="stream_options"))
    script = write_script(ask, switches)
    requested_tier = body.text("service_tier") or "auto"
    return Completion(
        script=script,
        switches=switches,
        tier=switches.tier or _SERVED_TIERS.get(requested_tier, requested_tier),
        streamed=streamed,
        include_usage=options.flag("include_usage"),
        obfuscated=options.value("include_obfuscation") is not False,
    )


def completion_body(completion: Completion, stamp: Stamp) -> bytes:
    """Write the plain answer."""
    script = completion.script
    message: dict[str, object] = {
        "role": "assistant",
        "content": script.text,
        "refusal": None,
        "annotations": [],
    }
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
        for index, chunk in enumerate(_chunks(completion))
    ]
    return (*[COMMENT] * completion.switches.comments, *frames, DONE)


def _read_ask(body: Body) -> Ask:
    model = body.text("model")
    if not model:
        raise Refused(Problem(400, "you must provide a model parameter"))
    messages = body.items("messages")
    if messages is None:
        message = "Missing required parameter: 'messages'."
        raise Refused(Problem(400, message, code="missing_required_parameter", param="messages"))
    choices = body.integer("n")
    if choices is not None and not 1 <= choices <= _CHOICES_MAX:
        message = f"Invalid value for 'n': expected between 1 and {_CHOICES_MAX}."
        raise Refused(Problem(400, message, code="integer_out_of_range", param="n"))
    cap = body.integer("max_completion_tokens")
    return Ask(
        model=require_model(model, f"The model `{model}` does not exist or you do not have access to it."),
        characters=count_characters(messages),
        output_tokens_max=body.integer("max_tokens") if cap is None else cap,
        choices=choices or 1,
    )


def _usage(completion: Completion) -> dict[str, object]:
    """Count as OpenAI does: the input includes cached and written tokens, the output includes reasoning."""
    script, switches = completion.script, completion.switches
    prompt_tokens = script.fresh_tokens + switches.cached + switches.cache_write
    prompt_details = {"cached_tokens": switches.cached, "audio_tokens": 0}
    if switches.cache_write:
        # Only newer models know this key.
        prompt_details["cache_write_tokens"] = switches.cache_write
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": script.output_tokens,
        "total_tokens": prompt_tokens + script.output_tokens,
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": {
            "reasoning_tokens": script.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _chunks(completion: Completion) -> list[dict[str, object]]:
    """Write what differs from chunk to chunk; usage stands where the request or a switch wants it."""
    chunks: list[dict[str, object]] = [{"choices": [choice]} for choice in _choices(completion.script)]
    where = completion.switches.usage
    asked = completion.include_usage and where != "missing"
    if asked:
        for chunk in chunks:
            chunk["usage"] = None
    if where == "with_choices" or (where == "twice" and asked):
        chunks[-1]["usage"] = _usage(completion)
    if asked and where != "with_choices":
        chunks.append({"choices": [], "usage": _usage(completion)})
    return chunks


def _choices(script: Script) -> Iterator[dict[str, object]]:
    """Interleave the choices as OpenAI does: all openings, then part by part, then all endings."""
    deltas: list[tuple[dict[str, object], str | None]] = [
        ({"role": "assistant", "content": "", "refusal": None}, None),
    ]
    deltas += [({"content": part}, None) for part in script.parts(_TOKENS_PER_CHUNK)]
    deltas += [({}, _finish_reason(script))]
    for delta, reason in deltas:
        for index in range(script.choices):
            yield {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


def _finish_reason(script: Script) -> str:
    return "length" if script.cut else "stop"


def _obfuscation(completion: Completion, index: int) -> dict[str, object]:
    if not completion.obfuscated:
        return {}
    return {"obfuscation": _OBFUSCATION[: 1 + index * 5 % len(_OBFUSCATION)]}
