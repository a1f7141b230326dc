"""What a chat request asks for, and the edit that makes its stream report usage."""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from om_proxy.call.call import Call, Demand, Notes, each_object, positive_int, text_bytes
from om_proxy.call.route import Target
from om_proxy.metering.include_usage import ask_for_usage
from om_proxy.metering.reading import parse_object, short_text
from om_proxy.metering.usage import Unit
from om_proxy.refusals.problem import invalid_field, invalid_json
from om_proxy.refusals.refusal import Problem

_CLIENT_TOOLS = frozenset({"function", "custom"})
_SEARCH_MODEL = re.compile(r"-search-(?:preview|api)")
#: Models that are known to show all that they write. Any other may reason, now or tomorrow.
_SHOWING_MODEL = re.compile(r"(?:ft:)?(?:chatgpt-4o|gpt-3\.5|gpt-4)(?!.*(?:audio|realtime|search|image))")


def read_chat(target: Target, body: bytes, *, ask: bool = True) -> Call | Problem:
    """Understand a request body; `ask` for usage where it streams and the client did not."""
    document = named_document(target, body)
    if isinstance(document, Problem):
        return document
    visible = (
        target.route.provider == "openai"
        and document.get("reasoning_effort") is None
        and shows_all(model_of(document))
    )
    demand = _demand(document, body, visible=visible)
    return streamed_call(target, body, document, demand=demand, ask=ask)


def shows_all(model: str) -> bool:
    """Whether one of OpenAI's models shows every token that it is charged for."""
    return _SHOWING_MODEL.match(model) is not None


def named_document(target: Target, body: bytes) -> dict[str, object] | Problem:
    """Parse a body that is an object and names its model, unless the path does."""
    document = parse_object(body)
    if document is None:
        return invalid_json()
    if target.model is not None:
        document["model"] = target.model
    return document if model_of(document) else invalid_field("model")


def model_of(document: Mapping[str, object]) -> str:
    """Read the model; empty where none is named."""
    return short_text(document.get("model")) or ""


def call_of(
    target: Target, body: bytes, document: Mapping[str, object], *, demand: Demand, usage_added: bool = False
) -> Call:
    """Write the call of a request whose body goes upstream."""
    tier = document.get("service_tier")
    return Call(
        provider=target.route.provider,
        operation=target.route.operation,
        model=model_of(document),
        stream=document.get("stream") is True,
        tier=tier if isinstance(tier, str) else "",
        body=body,
        demand=demand,
        usage_added=usage_added,
        billable=target.route.billable,
        usage=target.route.usage,
    )


def streamed_call(
    target: Target, body: bytes, document: Mapping[str, object], *, demand: Demand, ask: bool
) -> Call:
    """Write the call of a request whose stream reports usage only if it is asked to."""
    edited = ask_for_usage(body, document) if ask else None
    if edited is None:
        return call_of(target, body, document, demand=demand)
    return call_of(target, edited, document, demand=demand, usage_added=True)


def _demand(document: Mapping[str, object], body: bytes, *, visible: bool) -> Demand:
    notes = _ChatNotes()
    model = model_of(document)
    messages = document.get("messages")
    each_object(messages, "messages", walk=notes.message)
    tools = document.get("tools")
    each_object(tools, "tools", walk=notes.tool)
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
        unbounded_field=notes.unbounded_field,
        output_field="max_completion_tokens",
        output_max=max((cap for cap in caps if cap is not None), default=None),
        choices=max(1, positive_int(document.get("n")) or 1),
        predicted_bytes=len(orjson.dumps(prediction)) if prediction is not None else 0,
        web_searches=searches,
        visible=visible,
    )


class _ChatNotes(Notes):
    def tool(self, tool: dict[str, object], field: str) -> None:
        # Compatible providers run tools of their own, as often as they like.
        if tool.get("type", "function") not in _CLIENT_TOOLS:
            self.unbounded(f"{field}.type")

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
