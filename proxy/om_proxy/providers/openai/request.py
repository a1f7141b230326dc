"""What a chat request asks for, and the edit that makes its stream report usage."""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from om_proxy.call import Call, Demand, Notes, each_object, positive_int, text_bytes
from om_proxy.include_usage import ask_for_usage
from om_proxy.problem import invalid_field, invalid_json
from om_proxy.reading import Fields, parse_object
from om_proxy.refusal import Problem
from om_proxy.route import Target
from om_proxy.usage import Unit

_SEARCH_MODEL = re.compile(r"-search-(?:preview|api)")


def read_chat(target: Target, body: bytes) -> Call | Problem:
    """Understand a request body; ask for usage where it streams and the client did not."""
    document = parse_object(body)
    if document is None:
        return invalid_json()
    model = Fields(document, set()).text("model")
    if model is None:
        return invalid_field("model")
    tier = document.get("service_tier")
    edited = ask_for_usage(body, document)
    return Call(
        provider=target.route.provider,
        operation=target.route.operation,
        model=model,
        stream=document.get("stream") is True,
        tier=tier if isinstance(tier, str) else "",
        body=body if edited is None else edited,
        demand=_demand(document, body, model=model),
        usage_added=edited is not None,
    )


def _demand(document: Mapping[str, object], body: bytes, *, model: str) -> Demand:
    notes = _ChatNotes()
    messages = document.get("messages")
    each_object(messages, "messages", walk=notes.message)
    tools = document.get("tools")
    searches = 0
    if document.get("web_search_options") is not None or _SEARCH_MODEL.search(model):
        notes.needs_window("web_search_options")
        searches = 1
    modalities = document.get("modalities")
    speaks = isinstance(modalities, list) and "audio" in modalities
    prediction = document.get("prediction")
    caps = (positive_int(document.get(name)) for name in ("max_completion_tokens", "max_tokens"))
    return Demand(
        text_bytes=text_bytes(body, document, base64_bytes=notes.base64_bytes),
        prompt_units=notes.prompt_units(document.get("prompt_cache_options")),
        output_units=(Unit.OUTPUT_TOKENS, Unit.AUDIO_OUTPUT_TOKENS) if speaks else (Unit.OUTPUT_TOKENS,),
        messages=len(messages) if isinstance(messages, list) else 0,
        tools=len(tools) if isinstance(tools, list) else 0,
        images=notes.images,
        image_field=notes.image_field,
        window_field=notes.window_field,
        output_field="max_completion_tokens",
        output_max=max((cap for cap in caps if cap is not None), default=None),
        choices=max(1, positive_int(document.get("n")) or 1),
        predicted_bytes=len(orjson.dumps(prediction)) if prediction is not None else 0,
        web_searches=searches,
    )


class _ChatNotes(Notes):
    def prompt_units(self, cache_options: object) -> tuple[Unit, ...]:
        units = [Unit.INPUT_TOKENS, Unit.CACHE_READ_TOKENS, Unit.CACHE_WRITE_TOKENS]
        if cache_options is not None:
            units.append(Unit.CACHE_WRITE_12H_TOKENS)
        if self.audio:
            units.append(Unit.AUDIO_INPUT_TOKENS)
        if self.images:
            units.append(Unit.IMAGE_INPUT_TOKENS)
        return tuple(units)

    def message(self, message: dict[str, object], field: str) -> None:
        if message.get("audio") is not None:  # An earlier answer, by reference.
            self.audio = True
            self.needs_window(f"{field}.audio")
        each_object(message.get("content"), f"{field}.content", walk=self.part)

    def part(self, part: dict[str, object], field: str) -> None:
        kind = part.get("type")
        if kind in {"text", "refusal"}:
            return
        inner = part.get(kind) if isinstance(kind, str) else None
        values = inner.values() if isinstance(inner, dict) else ()
        # Addresses, ids and base64 alike: none of them is read as text.
        self.base64_bytes += max((len(value) for value in values if isinstance(value, str)), default=0)
        if kind == "image_url":
            self.image(field)
            return
        self.audio = self.audio or kind == "input_audio"
        self.needs_window(field)
