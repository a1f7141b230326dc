"""The endpoint that speaks OpenAI's dialect: its thinking shows in totals alone, and it caches by itself."""

from __future__ import annotations

from dataclasses import replace

from om_proxy.call.call import Call, positive_int
from om_proxy.call.route import Target
from om_proxy.metering.reading import Fields, parse_object
from om_proxy.metering.usage import Unit
from om_proxy.providers.gemini.embedding import embedding_call
from om_proxy.providers.gemini.media import image_call
from om_proxy.providers.gemini.request import ContentNotes
from om_proxy.providers.openai.request import read_chat
from om_proxy.refusals.problem import invalid_field, invalid_json
from om_proxy.refusals.refusal import Problem

#: Units that Google never charges.
_FOREIGN = frozenset({Unit.CACHE_WRITE_TOKENS, Unit.CACHE_WRITE_12H_TOKENS})
_CACHED_FIELD = "extra_body.google.cached_content"


def read_shim_chat(target: Target, body: bytes) -> Call | Problem:
    """Understand a chat; Google's own fields may name a cache, whose size only the window bounds."""
    call = read_chat(target, body)
    if isinstance(call, Problem):
        return call
    demand = call.demand
    document = parse_object(body) or {}
    extra = Fields(document, set()).section("extra_body").section("google")
    units = tuple(unit for unit in demand.prompt_units if unit not in _FOREIGN)
    cached = _CACHED_FIELD if extra.raw.get("cached_content") is not None else None
    return replace(
        call,
        model=call.model.removeprefix("models/"),
        demand=replace(demand, prompt_units=units, window_field=demand.window_field or cached),
        usage=target.route.usage,
    )


def read_shim_embeddings(target: Target, body: bytes) -> Call | Problem:
    """Understand a request for embeddings: its input is text."""
    document = parse_object(body)
    model = Fields(document, set()).text("model") if document is not None else None
    if document is None or model is None:
        return invalid_json() if document is None else invalid_field("model")
    return embedding_call(
        target, body, document=document, notes=ContentNotes(), model=model.removeprefix("models/")
    )


def read_shim_images(target: Target, body: bytes) -> Call | Problem:
    """Understand a request for images: one, unless it says more."""
    document = parse_object(body)
    model = Fields(document, set()).text("model") if document is not None else None
    if document is None or model is None:
        return invalid_json() if document is None else invalid_field("model")
    images = max(1, positive_int(document.get("n")) or 1)
    return image_call(target, body, model=model.removeprefix("models/"), images=images)
