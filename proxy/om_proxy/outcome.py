"""How a call ended, as the event that is reported: exactly one for each admitted call."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import orjson
from google.protobuf import timestamp_pb2

from om.type.v1 import event_pb2, usage_pb2
from om_proxy.authorize import Admission, Key
from om_proxy.call import Call
from om_proxy.dialects.openmonetize import Attribution
from om_proxy.meter import tokens_of
from om_proxy.reading import Line, Metered
from om_proxy.usage import Certainty, Quantity, Unit, Usage

#: Deeper metadata cannot be read by the server: messages nest at most 100 levels, JSON takes three for each.
METADATA_DEPTH_MAX = 16
#: As the contract says; what is longer would make the event invalid, and invalid is not charged.
_TIER_MAX = 64

_CERTAINTIES = {
    Certainty.MEASURED: usage_pb2.CERTAINTY_MEASURED,
    Certainty.ESTIMATED: usage_pb2.CERTAINTY_ESTIMATED,
    Certainty.UNKNOWN: usage_pb2.CERTAINTY_UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class Intent:
    """A call that was admitted, before it is made. Its time chooses the prices."""

    event_id: str
    key: Key
    who: Attribution
    call: Call
    admission: Admission
    time_ns: int = field(default_factory=time.time_ns)

    @property
    def sandbox(self) -> bool:
        """Whether the simulator answers and nothing is charged."""
        return self.who.sandbox or self.key.test_mode


def zero(intent: Intent, *, http_status: int = 0) -> event_pb2.UsageEvent:
    """Nothing was consumed: not sent, or refused by the provider. The whole bound returns."""
    event = _event(intent, event_pb2.OUTCOME_ZERO, retained=0)
    event.http_status = http_status
    return event


def consumed(intent: Intent, metered: Metered, *, http_status: int, latency_ms: int) -> event_pb2.UsageEvent:
    """What the meter read. A figure that is not the provider's own makes the outcome an estimate."""
    if not metered.lines:
        return zero(intent, http_status=http_status)
    outcome = event_pb2.OUTCOME_CHARGED if metered.measured else event_pb2.OUTCOME_ESTIMATED
    # The lease is for this call alone, so the edge has nothing to give back from it: settlement captures
    # what the call cost and releases the rest.
    event = _event(intent, outcome, retained=intent.admission.bound_nanos)
    event.http_status = http_status
    event.latency_ms = latency_ms
    for index, line in enumerate(metered.lines):
        raw = metered.raw_usage if index == 0 else None
        event.lines.append(_line(line, raw))
    return event


def unread(intent: Intent, *, http_status: int, latency_ms: int) -> event_pb2.UsageEvent:
    """The answer could not be read, through a defect of ours: what came out is unknown, which is not zero."""
    call = intent.call
    usage = Usage(
        (
            Quantity(Unit.INPUT_TOKENS, tokens_of(call.demand.text_bytes), Certainty.ESTIMATED),
            Quantity(Unit.OUTPUT_TOKENS, None, Certainty.UNKNOWN),
        )
    )
    line = Line(call.provider, call.model, call.model, call.tier or "standard", usage)
    return consumed(intent, Metered((line,)), http_status=http_status, latency_ms=latency_ms)


def _event(intent: Intent, outcome: event_pb2.Outcome.ValueType, *, retained: int) -> event_pb2.UsageEvent:
    who, admission = intent.who, intent.admission
    event = event_pb2.UsageEvent(
        event_id=intent.event_id,
        source="proxy",
        occur_time=timestamp_pb2.Timestamp(
            seconds=intent.time_ns // 10**9, nanos=intent.time_ns % 10**9 // 1000 * 1000
        ),
        type=event_pb2.EVENT_TYPE_TOKEN_USAGE,
        attribution=event_pb2.Attribution(
            customer_id=who.customer_id, user_id=who.user_id, feature_id=who.feature_id
        ),
        key_id=intent.key.key_id,
        outcome=outcome,
        wallet_id=admission.wallet_id,
        sandbox=intent.sandbox,
    )
    if who.metadata is not None and (metadata := orjson.loads(who.metadata)) and _depth_fits(metadata):
        event.metadata.update(metadata)
    if admission.lease_id:
        event.funding.add(
            lease_id=admission.lease_id, bound_nanos=admission.bound_nanos, retained_nanos=retained
        )
    return event


def _depth_fits(document: object) -> bool:
    """Whether JSON is nested at most METADATA_DEPTH_MAX levels. Never recurses, because a caller wrote it."""
    level: list[object] = [document]
    for _ in range(METADATA_DEPTH_MAX):
        inside: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inside += value.values()
            elif isinstance(value, list):
                inside += value
        if not inside:
            return True
        level = inside
    return not any(isinstance(value, dict | list) for value in level)


def _line(line: Line, raw_usage: bytes | None) -> event_pb2.UsageLine:
    return event_pb2.UsageLine(
        provider=line.provider,
        model=line.model,
        requested_model="" if line.requested_model == line.model else line.requested_model,
        tier=line.tier[:_TIER_MAX],
        usage=_usage(line.usage),
        attributes=dict(line.attributes),
        raw_usage_json="" if raw_usage is None else raw_usage.decode(),
    )


def _usage(usage: Usage) -> usage_pb2.Usage:
    return usage_pb2.Usage(
        quantities=[
            usage_pb2.Quantity(
                unit=quantity.unit, amount=quantity.amount, certainty=_CERTAINTIES[quantity.certainty]
            )
            for quantity in usage.quantities
        ]
    )
