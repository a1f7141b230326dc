"""Batches: what creating one may consume, and results, of which each is charged once, whoever reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import orjson

from om_proxy.call.bound import TOOL_OVERHEAD_TOKENS
from om_proxy.call.call import Call, Demand, Share
from om_proxy.call.route import Target
from om_proxy.call.unmetered import passed_call
from om_proxy.metering.reading import EndedJob, Fields, Flag, Line, Metered, parse_object
from om_proxy.metering.usage import Unit, usage_of
from om_proxy.providers.anthropic.request import read_message
from om_proxy.providers.anthropic.usage import MessagesReader
from om_proxy.refusals.problem import invalid_field, invalid_json
from om_proxy.refusals.refusal import Problem

_TIER = "batch"
_ENDED = "ended"
#: Longer than their names for requests may be; an event's id has no room for any length.
_PART_MAX = 64


def read_batch(target: Target, body: bytes) -> Call | Problem:
    """Understand the creation of a batch: it may consume what all of its requests may."""
    document = parse_object(body)
    if document is None:
        return invalid_json()
    requests = document.get("requests")
    if not isinstance(requests, list) or not requests:
        return invalid_field("requests")
    shares = _Sum()
    for index, item in enumerate(requests):
        field = f"requests[{index}].params"
        params = item.get("params") if isinstance(item, dict) else None
        params = params if isinstance(params, dict) else {}
        # The rest of the body is other requests', so each is written out to be measured.
        asked = read_message(params, orjson.dumps(params), prefix=f"{field}.")
        if asked is None:
            return invalid_field(f"{field}.model")
        shares.add(Share(asked.model, asked.demand, field))
        for share in asked.shares:
            shares.add(share)
    first, *others = shares.shares
    call = passed_call(target, body)
    return replace(
        call, billable=True, model=first.model, tier=_TIER, demand=first.demand, shares=tuple(others)
    )


class _Sum:
    """Adds up what requests may consume: a batch has up to a hundred thousand of them, for a few models."""

    def __init__(self) -> None:
        self._by_kind: dict[tuple[object, ...], Share] = {}

    @property
    def shares(self) -> list[Share]:
        return list(self._by_kind.values())

    def add(self, share: Share) -> None:
        demand = share.demand
        # The size of an image may be unknown, and then the window bounds it.
        windowed = demand.window_field is not None or demand.turns > 1 or demand.images > 0
        kind = (share.model, demand.prompt_units, windowed, demand.output_max is None)
        known = self._by_kind.get(kind)
        demand = _added(_folded(demand, windowed=windowed), None if known is None else known.demand)
        self._by_kind[kind] = replace(share if known is None else known, demand=demand)


def _folded(demand: Demand, *, windowed: bool) -> Demand:
    """Write a demand so that it can be added to others of its kind."""
    overhead = (demand.tools + 1) * TOOL_OVERHEAD_TOKENS if demand.tools else 0
    return replace(
        demand,
        text_bytes=demand.text_bytes + overhead,
        tools=0,
        images=0,
        window_field=demand.window_field or demand.image_field or demand.output_field if windowed else None,
        output_max=None if demand.output_max is None else demand.output_max * demand.choices,
        choices=demand.choices if demand.output_max is None else 1,
    )


def _added(one: Demand, other: Demand | None) -> Demand:
    if other is None:
        return one
    caps = one.output_max, other.output_max
    most = None if caps[0] is None or caps[1] is None else caps[0] + caps[1]
    return replace(
        other,
        text_bytes=one.text_bytes + other.text_bytes,
        messages=one.messages + other.messages,
        turns=one.turns + other.turns if other.window_field is not None else 1,
        output_max=most,
        choices=one.choices + other.choices if most is None else 1,
        web_searches=one.web_searches + other.web_searches,
        unbounded_field=other.unbounded_field or one.unbounded_field,
    )


class BatchReader:
    """Reads the object of a batch: creating one defers the call, and one that ended in vain is over."""

    visible_bytes = 0

    def __init__(self, call: Call, *, begins: bool) -> None:
        self._call = call
        self._begins = begins
        self._batch: Mapping[str, object] = {}
        self._flags: set[Flag] = set()

    def read(self, document: bytes) -> None:
        """Parse the object."""
        batch = parse_object(document)
        if batch is None:
            self._flags.add(Flag.DOCUMENT_MALFORMED)
        else:
            self._batch = batch

    def metered(self) -> Metered:
        """Say what was read. A batch that nobody can name is deferred without an id: an owner decides."""
        fields = Fields(self._batch, set())
        batch_id = fields.text("id")
        flags = frozenset(self._flags)
        ended = (EndedJob(batch_id, ()),) if batch_id is not None and self._in_vain(fields) else ()
        if not self._begins:
            return Metered((), flags=flags, ended=ended)
        model = self._call.model
        unknown = usage_of({Unit.INPUT_TOKENS: None, Unit.OUTPUT_TOKENS: None})
        line = Line(self._call.provider, model, model, _TIER, unknown)
        return Metered((line,), None, batch_id, flags, job_id=batch_id or "", ended=ended)

    def _in_vain(self, fields: Fields) -> bool:
        if fields.text("processing_status") != _ENDED:
            return False
        # A count that is missing is not a zero: then only the results can tell.
        return fields.section("request_counts").count("succeeded") == 0


class ResultsReader:
    """Reads results, a line each. The last one read whole ends the batch: its money is free for them."""

    visible_bytes = 0

    def __init__(self, call: Call) -> None:
        self._call = call
        self._ended: list[EndedJob] = []
        self._flags: set[Flag] = set()
        # Nothing read is nothing that was seen whole.
        self._cut = True

    def read(self, document: bytes) -> None:
        """Read a line; only a request that succeeded is charged."""
        line = parse_object(document)
        self._cut = line is None
        if line is None:
            self._flags.add(Flag.DOCUMENT_MALFORMED)
            return
        fields = Fields(line, self._flags)
        result = line.get("result")
        message = result.get("message") if isinstance(result, dict) else None
        if not isinstance(result, dict) or result.get("type") != "succeeded" or not isinstance(message, dict):
            return
        part = fields.text("custom_id")
        if part is None:
            self._flags.add(Flag.USAGE_MALFORMED)
            return
        if len(part) > _PART_MAX:
            part = hashlib.sha256(part.encode()).hexdigest()
        metered = self._metered_message(message)
        self._flags |= metered.flags
        lines = tuple(_in_batch(item) for item in metered.lines)
        self._ended.append(EndedJob(self._call.resource, lines, metered.raw_usage, part))

    def metered(self) -> Metered:
        """Give the event of each request, behind that of the batch where all of it was seen."""
        whole = () if self._cut else (EndedJob(self._call.resource, ()),)
        return Metered((), flags=frozenset(self._flags), ended=(*whole, *self._ended))

    def _metered_message(self, message: dict[str, object]) -> Metered:
        model = Fields(message, set()).text("model") or "unknown"
        reader = MessagesReader(replace(self._call, model=model, stream=False))
        reader.take({"type": "message", **message})
        return reader.metered()


def _in_batch(line: Line) -> Line:
    return replace(line, tier=_TIER) if line.tier == "standard" else line
