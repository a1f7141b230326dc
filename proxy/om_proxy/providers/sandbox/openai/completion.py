"""OpenAI's POST /v1/completions, the one before chat: prompts instead of messages."""

from __future__ import annotations

from om_proxy.providers.sandbox.body import Body, all_text, count_characters
from om_proxy.providers.sandbox.exchange import Call, Reply
from om_proxy.providers.sandbox.frame import DONE, data_frame
from om_proxy.providers.sandbox.openai.answer import event_reply, object_reply
from om_proxy.providers.sandbox.openai.chat_usage import chat_usage
from om_proxy.providers.sandbox.openai.refusals import missing, required_model, several, stream_options
from om_proxy.providers.sandbox.script import Ask, Script, write_script

_CHOICES_MAX = 128
_TOKENS_PER_CHUNK = 1
# The real route writes so little where nobody says how much.
_OUTPUT_TOKENS_DEFAULT = 16


def complete(call: Call, body: Body) -> Reply:
    """Answer a prompt, or a list of prompts with a choice for each."""
    prompt = body.value("prompt")
    if prompt is None:
        raise missing("prompt")
    cap = body.integer("max_tokens")
    ask = Ask(
        model=required_model(body),
        characters=_characters(prompt),
        output_tokens_max=_OUTPUT_TOKENS_DEFAULT if cap is None else cap,
        choices=several(body, "n", _CHOICES_MAX) * _prompts(prompt),
        text=all_text(prompt) if call.switches.echo else "",
    )
    script = write_script(ask, call.switches)
    options = stream_options(body)
    head: dict[str, object] = {
        "id": f"cmpl-{call.stamp.token}",
        "object": "text_completion",
        "created": call.stamp.created,
        "model": script.model,
    }
    if not body.flag("stream"):
        whole = [_choice(script, index, script.text, last=True) for index in range(script.choices)]
        usage = {} if call.switches.usage == "missing" else {"usage": chat_usage(script, call.switches)}
        return object_reply(call, head | {"choices": whole, **usage})
    asked = options.flag("include_usage") and call.switches.usage != "missing"
    absent: dict[str, object] = {"usage": None} if asked else {}
    *parts, last_part = script.parts(_TOKENS_PER_CHUNK) or ("",)
    chunks = [
        {"choices": [_choice(script, index, part, last=False)], **absent}
        for part in parts
        for index in range(script.choices)
    ]
    chunks += [
        {"choices": [_choice(script, index, last_part, last=True)], **absent}
        for index in range(script.choices)
    ]
    if asked:
        chunks.append({"choices": [], "usage": chat_usage(script, call.switches)})
    return event_reply(call, (*(data_frame(head | chunk) for chunk in chunks), DONE))


def _choice(script: Script, index: int, text: str, *, last: bool) -> dict[str, object]:
    reason = ("length" if script.cut else "stop") if last else None
    return {"text": text, "index": index, "logprobs": None, "finish_reason": reason}


def _characters(prompt: object) -> int:
    # A list of token ids, or of such lists, counts its ids.
    ids = [prompt] if isinstance(prompt, list) else []
    tokens = 0
    while ids:
        for item in ids.pop():
            if isinstance(item, int):
                tokens += 1
            elif isinstance(item, list):
                ids.append(item)
    return 4 * tokens + count_characters(prompt)


def _prompts(prompt: object) -> int:
    if not isinstance(prompt, list) or not prompt or isinstance(prompt[0], int):
        return 1
    return len(prompt)
