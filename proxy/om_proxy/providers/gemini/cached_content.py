"""Explicit caches: what is stored costs by token and hour, as long as it is said to live."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from om_proxy.call.call import NOTHING, Call, each_object, text_bytes
from om_proxy.call.route import Target
from om_proxy.call.unmetered import passed_call
from om_proxy.metering.reading import Fields, Flag, Line, Metered, parse_object, raw_usage_of
from om_proxy.metering.usage import Unit, usage_of
from om_proxy.providers.gemini.request import ContentNotes, first
from om_proxy.refusals.problem import invalid_field, invalid_json
from om_proxy.refusals.refusal import Problem

#: How long a cache lives where the request does not say.
LIFE_DEFAULT_S = 3_600

_DURATION = re.compile(r"(\d{1,9})(?:\.\d{1,9})?s")
_STEPS = 1_000_000
_HOUR_S = 3_600


def read_cached_content(target: Target, body: bytes) -> Call | Problem:
    """Understand the creation of a cache: its content is stored, and no token is generated."""
    document = parse_object(body)
    if document is None:
        return invalid_json()
    model = Fields(document, set()).text("model")
    if model is None:
        return invalid_field("model")
    notes = ContentNotes()
    each_object(document.get("contents"), "contents", walk=notes.content)
    system = first(document, "systemInstruction")
    if isinstance(system, dict):
        notes.content(system, "systemInstruction")
    if first(document, "expireTime") is not None:
        notes.unbounded("expireTime")
    tokens = text_bytes(body, document, base64_bytes=notes.base64_bytes)
    life_s = _seconds(document.get("ttl")) if document.get("ttl") is not None else LIFE_DEFAULT_S
    if life_s is None:
        return invalid_field("ttl")
    demand = replace(
        NOTHING,
        text_bytes=tokens,
        fees=((Unit.CACHED_TOKEN_HOURS, token_hours(tokens, life_s)),),
        # How many tokens a picture or a film takes is known to the provider alone.
        unbounded_field=notes.unbounded_field or notes.image_field or notes.window_field,
    )
    return replace(
        passed_call(target, body), billable=True, model=model.removeprefix("models/"), demand=demand
    )


class CachedContentReader:
    """Reads the cache that was made: its size, and when it ends."""

    visible_bytes = 0

    def __init__(self, call: Call) -> None:
        self._call = call
        self._cache: Mapping[str, object] = {}
        self._malformed = False

    def read(self, document: bytes) -> None:
        """Parse the object."""
        cache = parse_object(document)
        self._malformed = cache is None
        self._cache = cache or {}

    def metered(self) -> Metered:
        """Say what was read; a size or an end that is missing leaves the cost unknown."""
        flags = {Flag.DOCUMENT_MALFORMED} if self._malformed else set[Flag]()
        fields = Fields(self._cache, flags)
        usage = fields.section("usageMetadata")
        tokens, life_s = usage.count("totalTokenCount"), self._life_s(fields)
        amount = None if tokens is None or life_s is None else token_hours(tokens, life_s)
        model = (fields.text("model") or self._call.model).removeprefix("models/")
        line = Line(
            provider=self._call.provider,
            model=model,
            requested_model=self._call.model,
            tier="standard",
            usage=usage_of({Unit.CACHED_TOKEN_HOURS: amount}),
        )
        raw = raw_usage_of(usage.raw) if usage.raw else None
        return Metered((line,), raw, fields.text("name"), frozenset(flags))

    def _life_s(self, fields: Fields) -> int | None:
        begin, end = _time(fields.text("createTime")), _time(fields.text("expireTime"))
        if begin is None or end is None or end < begin:
            return None
        return round((end - begin).total_seconds())


def token_hours(tokens: int, life_s: int) -> int:
    """Multiply, in millionths of a token kept for an hour, rounded up."""
    return -(-tokens * life_s * _STEPS // _HOUR_S)


def _seconds(value: object) -> int | None:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    # A started second counts.
    return int(found[1]) + 1 if found is not None and "." in found[0] else found and int(found[1])


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if text is not None else None
    except ValueError:
        return None
