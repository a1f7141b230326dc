"""Events as versioned JSON: the form they have in the queue and in dead letters.

A reader that meets a version it does not know leaves the entry alone, so that old and new workers
can run side by side during a deploy.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from om_server.core.errors import Code, DomainError
from om_server.core.event import (
    Attribution,
    EdgePosition,
    Event,
    EventType,
    Funding,
    Outcome,
    UsageLine,
)
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.core.value import value_type

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = 1
_UNREAD_VERSION = 0

# By value, because a look-up takes a fifth of what asking the class does; an unknown one is a KeyError.
_EVENT_TYPES = {item.value: item for item in EventType}
_OUTCOMES = {item.value: item for item in Outcome}
_CERTAINTIES = {item.value: item for item in Certainty}

#: What the caller did not supply, and the place in a journal, are not part of what it claims. Nor is
#: the identity: hashes are compared under it, or under an idempotency key, which has none.
_NOT_CLAIMED = (
    "organization_id",
    "source",
    "event_id",
    "receive_time",
    "flags",
    "edge",
    "payload_hash",
    "trace_parent",
)
#: An edge names the key in each event. An application only sends with one, and with another tomorrow.
_OF_EDGES = "key_id"


class EnvelopeUnreadable(DomainError):
    """A queue entry is not an envelope of a version that this program reads."""

    code = Code.INTERNAL
    reason = "INTERNAL"

    def __init__(self) -> None:
        super().__init__("a queue entry could not be read")


@value_type(frozen=True, slots=True)
class Sealed:
    """An event that may be queued, written once for its hash and for its envelope."""

    #: Without the hash, which is written in the text.
    event: Event
    payload_hash: str
    text: bytes


def seal(claimed: Event, believed: Event, *, time_supplied: bool) -> Sealed:
    """Hash an event as it was claimed, and write it as it is believed, which usually is the same."""
    document = _to_json(claimed)
    digest = _hash(document, of_edge=claimed.edge is not None, time_supplied=time_supplied)
    if believed is not claimed:
        document = _to_json(believed)
    document["payload_hash"] = digest
    return Sealed(believed, digest, orjson.dumps(document))


def pack_sealed(sealed: Sequence[Sealed]) -> str:
    """Write events of one organization as one envelope."""
    return _envelope([item.text for item in sealed])


def pack(events: Sequence[Event]) -> str:
    """Write events of one organization as one envelope."""
    return _envelope([orjson.dumps(_to_json(event)) for event in events])


def _envelope(texts: Sequence[bytes]) -> str:
    return f'{{"version":{VERSION},"events":[{b",".join(texts).decode()}]}}'


@dataclass(frozen=True, slots=True)
class Unread:
    """A serialized UsageEvent that broke a rule, and what it says about money."""

    message: bytes
    edge_id: str = ""
    wallet_id: str = ""
    funding: tuple[Funding, ...] = ()
    edge_epoch: int = 0
    sequence: int = 0


def pack_unread(unread: Unread) -> str:
    """Write an event that could not be read, for a person to look at."""
    document = {
        "version": _UNREAD_VERSION,
        "message": base64.b64encode(unread.message).decode(),
        "edge_id": unread.edge_id,
        "wallet_id": unread.wallet_id,
        "funding": [[part.lease_id, part.bound, part.retained] for part in unread.funding],
        "edge_epoch": unread.edge_epoch,
        "sequence": unread.sequence,
    }
    return orjson.dumps(document).decode()


def unpack_unread(envelope: str) -> Unread:
    """Read what `pack_unread` wrote; EnvelopeUnreadable if it is nothing of that."""
    try:
        document = orjson.loads(envelope)
        return Unread(
            base64.b64decode(document["message"]),
            document.get("edge_id", ""),
            document.get("wallet_id", ""),
            tuple(Funding(*part) for part in document.get("funding", ())),
            document.get("edge_epoch", 0),
            document.get("sequence", 0),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise EnvelopeUnreadable from error


def is_unread(envelope: str) -> bool:
    """Tell whether `pack_unread` wrote it, and not a newer program."""
    try:
        return bool(orjson.loads(envelope)["version"] == _UNREAD_VERSION)
    except (KeyError, TypeError, ValueError):
        return False


def unpack(envelope: str) -> list[Event]:
    """Read the events of an envelope; EnvelopeUnreadable if it is none, or of another version."""
    try:
        document = orjson.loads(envelope)
        if document["version"] != VERSION:
            raise EnvelopeUnreadable
        return [_from_json(item) for item in document["events"]]
    except (DomainError, AttributeError, KeyError, TypeError, ValueError) as error:
        # A DomainError is a value that only a newer program knows, such as a unit.
        raise EnvelopeUnreadable from error


def marker(event_id: str) -> str:
    """Return text that is in every envelope with this event, and perhaps in others."""
    return f'"event_id":{orjson.dumps(event_id).decode()}'


def names(envelope: str) -> set[tuple[str, str]]:
    """Return source and id of the events of an envelope; nothing of one that cannot be read."""
    try:
        return {(event.source, event.event_id) for event in unpack(envelope)}
    except EnvelopeUnreadable:
        return set()


def payload_hash(event: Event, *, time_supplied: bool) -> str:
    """Hash what the caller supplied: the same event again has the same hash, whatever is in between."""
    return _hash(_to_json(event), of_edge=event.edge is not None, time_supplied=time_supplied)


def _hash(document: dict[str, Any], *, of_edge: bool, time_supplied: bool) -> str:
    claim = document.copy()
    for name in _NOT_CLAIMED:
        del claim[name]
    # The key decides the team, so a caller that was given another key repeats the same event.
    attribution = claim["attribution"] = claim["attribution"].copy()
    del attribution["team_id"]
    if not of_edge:
        del claim[_OF_EDGES]
    if not time_supplied:
        del claim["event_time"]
    return hashlib.sha256(orjson.dumps(claim, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _to_json(event: Event) -> dict[str, Any]:
    attribution, edge = event.attribution, event.edge
    return {
        "organization_id": event.organization_id,
        "source": event.source,
        "event_id": event.event_id,
        "event_type": event.event_type,
        "event_time": event.event_time,
        "receive_time": event.receive_time,
        "attribution": {
            "customer_id": attribution.customer_id,
            "user_id": attribution.user_id,
            "team_id": attribution.team_id,
            "feature_id": attribution.feature_id,
            "prompt_key": attribution.prompt_key,
            "prompt_version": attribution.prompt_version,
            "tags": attribution.tags,
        },
        "lines": [_line_to_json(line) for line in event.lines],
        "outcome": event.outcome,
        "metadata": event.metadata_json,
        "idempotency_key": event.idempotency_key,
        "sandbox": event.sandbox,
        "key_id": event.key_id,
        "edge": None if edge is None else [edge.edge_id, edge.edge_epoch, edge.sequence],
        "funding": [[part.lease_id, part.bound, part.retained] for part in event.funding],
        "wallet_id": event.wallet_id,
        "unfunded": event.unfunded,
        "job_id": event.job_id,
        "http_status": event.http_status,
        "latency_ms": event.latency_ms,
        "flags": event.flags,
        "payload_hash": event.payload_hash,
        "trace_parent": event.trace_parent,
    }


def _line_to_json(line: UsageLine) -> dict[str, Any]:
    return {
        "provider": line.provider,
        "model": line.model,
        "requested_model": line.requested_model,
        "tier": line.tier,
        "attributes": dict(line.attributes),
        "raw_usage": line.raw_usage,
        "usage": [[item.unit, item.amount, item.certainty.value] for item in line.usage.quantities],
    }


def _from_json(item: dict[str, Any]) -> Event:
    edge, attribution = item["edge"], item["attribution"]
    return Event(
        organization_id=item["organization_id"],
        source=item["source"],
        event_id=item["event_id"],
        event_type=_EVENT_TYPES[item["event_type"]],
        event_time=item["event_time"],
        receive_time=item["receive_time"],
        attribution=Attribution(
            customer_id=attribution["customer_id"],
            user_id=attribution["user_id"],
            team_id=attribution["team_id"],
            feature_id=attribution["feature_id"],
            prompt_key=attribution["prompt_key"],
            prompt_version=attribution["prompt_version"],
            tags=tuple(attribution["tags"]),
        ),
        lines=tuple([_line_from_json(line) for line in item["lines"]]),
        outcome=_OUTCOMES[item["outcome"]],
        metadata_json=item["metadata"],
        idempotency_key=item["idempotency_key"],
        sandbox=item["sandbox"],
        key_id=item["key_id"],
        edge=None if edge is None else EdgePosition(*edge),
        funding=tuple([Funding(*part) for part in item["funding"]]),
        wallet_id=item["wallet_id"],
        unfunded=item["unfunded"],
        job_id=item["job_id"],
        http_status=item["http_status"],
        latency_ms=item["latency_ms"],
        flags=tuple(item["flags"]),
        payload_hash=item["payload_hash"],
        # An older program wrote none.
        trace_parent=item.get("trace_parent", ""),
    )


def _line_from_json(line: dict[str, Any]) -> UsageLine:
    quantities = [
        Quantity(unit, amount, _CERTAINTIES[certainty]) for unit, amount, certainty in line["usage"]
    ]
    return UsageLine(
        provider=line["provider"],
        model=line["model"],
        usage=Usage(tuple(quantities)),
        requested_model=line["requested_model"],
        tier=line["tier"],
        attributes=line["attributes"],
        raw_usage=line["raw_usage"],
    )
