"""Writes usage events into messages, in place: lists carry many, and a message set in another is copied.

Copied once for every level around it, a page of events takes three times as long.
"""

import orjson

from om.type.v1 import event_pb2
from om_server.core.event import Attribution, Event, EventType, Outcome, UsageLine
from om_server.rpc.convert import CERTAINTIES, write_timestamp

_CERTAINTIES = {certainty: value for value, certainty in CERTAINTIES.items()}
_EVENT_TYPES = {kind: event_pb2.EventType.Value(f"EVENT_TYPE_{kind.name}") for kind in EventType}
_OUTCOMES = {outcome: event_pb2.Outcome.Value(f"OUTCOME_{outcome.name}") for outcome in Outcome}


def event_to_proto(event: Event) -> event_pb2.UsageEvent:
    """Return one event in a message of its own."""
    message = event_pb2.UsageEvent()
    write_event(event, message)
    return message


def write_event(event: Event, target: event_pb2.UsageEvent) -> None:
    """Fill an empty message with an event, source and time too. It has no place for edge and flags."""
    target.event_id = event.event_id
    target.source = event.source
    write_timestamp(event.event_time, target.occur_time)
    target.type = _EVENT_TYPES[event.event_type]
    _write_attribution(event.attribution, target.attribution)
    for line in event.lines:
        _write_line(line, target.lines.add())
    # Without anything in it, it is there as well.
    target.metadata.SetInParent()
    target.metadata.update(orjson.loads(event.metadata_json))
    target.idempotency_key = event.idempotency_key
    target.sandbox = event.sandbox
    target.key_id = event.key_id
    target.sequence = event.edge.sequence if event.edge else 0
    target.outcome = _OUTCOMES[event.outcome]
    for part in event.funding:
        target.funding.add(lease_id=part.lease_id, bound_nanos=part.bound, retained_nanos=part.retained)
    target.wallet_id = event.wallet_id
    target.unfunded = event.unfunded
    target.job_id = event.job_id
    target.http_status = event.http_status
    if event.latency_ms is not None:
        target.latency_ms = event.latency_ms


def _write_attribution(attribution: Attribution, target: event_pb2.Attribution) -> None:
    target.customer_id = attribution.customer_id
    target.user_id = attribution.user_id
    target.team_id = attribution.team_id
    target.feature_id = attribution.feature_id
    target.prompt_key = attribution.prompt_key
    if attribution.prompt_version is not None:
        target.prompt_version = attribution.prompt_version
    target.tags.extend(attribution.tags)


def _write_line(line: UsageLine, target: event_pb2.UsageLine) -> None:
    target.provider = line.provider
    target.model = line.model
    # Usage that is absent would be unknown, not none.
    target.usage.SetInParent()
    for quantity in line.usage.quantities:
        certainty = _CERTAINTIES[quantity.certainty]
        target.usage.quantities.add(unit=quantity.unit, amount=quantity.amount, certainty=certainty)
    target.requested_model = line.requested_model
    target.tier = line.tier
    target.attributes.update(line.attributes)
    target.raw_usage_json = line.raw_usage
