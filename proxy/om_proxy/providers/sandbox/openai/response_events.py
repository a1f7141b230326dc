"""OpenAI's Responses as a stream: named events in sequence, and the whole object again at the end."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from om_proxy.providers.sandbox.frame import COMMENT
from om_proxy.providers.sandbox.openai.response import Answer, items, part, payload
from om_proxy.providers.sandbox.script import Form

_TOKENS_PER_DELTA = 1
_OBFUSCATION = "kQ7xZpB2mV9c"

_Event = dict[str, object]


def frames(answer: Answer, *, after: int = -1) -> tuple[bytes, ...]:
    """Write the stream, or what follows the event with this number."""
    events = enumerate(_events(answer))
    written = [_frame(event, number) for number, event in events if number > after]
    return (*[COMMENT] * answer.switches.comments, *written)


def _frame(event: _Event, number: int) -> bytes:
    text = orjson.dumps({"type": event["type"], "sequence_number": number, **event})
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + text + b"\n\n"


def _events(answer: Answer) -> Iterator[_Event]:
    begun = payload(answer, "queued" if answer.background else "in_progress")
    yield {"type": "response.created", "response": begun}
    if answer.background:
        yield {"type": "response.queued", "response": begun}
    yield {"type": "response.in_progress", "response": payload(answer, "in_progress")}
    for index, item in enumerate(items(answer)):
        yield from _item_events(answer, item, index)
    yield {"type": f"response.{answer.status}", "response": payload(answer, answer.status)}


def _item_events(answer: Answer, item: _Event, index: int) -> Iterator[_Event]:
    place: _Event = {"item_id": item["id"], "output_index": index}
    empty: dict[str, _Event] = {
        "message": {"content": []},
        "reasoning": {"summary": []},
        "function_call": {"arguments": ""},
    }
    kind = str(item["type"])
    opened = item | empty.get(kind, {})
    if kind != "reasoning":
        opened["status"] = "in_progress"
    yield {"type": "response.output_item.added", "output_index": index, "item": opened}
    if kind == "reasoning":
        yield from _reasoning_events(item, place)
    elif kind == "web_search_call":
        for state in ("in_progress", "searching", "completed"):
            yield {"type": f"response.web_search_call.{state}", **place}
    elif kind == "function_call":
        name = "response.function_call_arguments"
        for text in answer.script.parts(_TOKENS_PER_DELTA):
            yield {"type": f"{name}.delta", **place, "delta": text, **_obfuscation(answer, text)}
        yield {"type": f"{name}.done", **place, "name": item["name"], "arguments": item["arguments"]}
    else:
        yield from _message_events(answer, place)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _reasoning_events(item: _Event, place: _Event) -> Iterator[_Event]:
    summary = item["summary"]
    for index, shown in enumerate(summary if isinstance(summary, list) else ()):
        where = {**place, "summary_index": index}
        empty = {"type": "summary_text", "text": ""}
        text = shown["text"]
        yield {"type": "response.reasoning_summary_part.added", **where, "part": empty}
        yield {"type": "response.reasoning_summary_text.delta", **where, "delta": text}
        yield {"type": "response.reasoning_summary_text.done", **where, "text": text}
        yield {"type": "response.reasoning_summary_part.done", **where, "part": shown}


def _message_events(answer: Answer, place: _Event) -> Iterator[_Event]:
    where = {**place, "content_index": 0}
    refusal = answer.script.form is Form.REFUSAL
    name, field = ("response.refusal", "refusal") if refusal else ("response.output_text", "text")
    # Only text can have probabilities.
    more: _Event = {} if refusal else {"logprobs": []}
    whole = part(answer.script)
    yield {"type": "response.content_part.added", **where, "part": whole | {field: ""}}
    for text in answer.script.parts(_TOKENS_PER_DELTA):
        yield {"type": f"{name}.delta", **where, "delta": text, **more, **_obfuscation(answer, text)}
    yield {"type": f"{name}.done", **where, field: answer.script.text, **more}
    yield {"type": "response.content_part.done", **where, "part": whole}


def _obfuscation(answer: Answer, text: str) -> _Event:
    return {"obfuscation": _OBFUSCATION[: 16 - len(text)]} if answer.obfuscated else {}
