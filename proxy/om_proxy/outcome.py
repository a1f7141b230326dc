"""How a call ended, as the event that is reported: exactly one for each admitted call."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import orjson
from google.protobuf import struct_pb2, timestamp_pb2

from om.type.v1 import event_pb2, usage_pb2
from om_proxy.authorize import Admission, Key
from om_proxy.call import Call
from om_proxy.dialects.openmonetize import Attribution
from om_proxy.reading import Line, Metered
from om_proxy.usage import Certainty, Usage

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


def consumed(
    intent: Intent, metered: Metered, *, http_status: int, latency_ms: int | None
) -> event_pb2.UsageEvent:
    """What the meter read. A figure that is not the provider's own makes the outcome an estimate."""
    if not metered.lines:
        return zero(intent, http_status=http_status)
    outcome = event_pb2.OUTCOME_CHARGED if metered.measured else event_pb2.OUTCOME_ESTIMATED
    # The lease is for this call alone, so the edge has nothing to give back from it: settlement captures
    # what the call cost and releases the rest.
    event = _event(intent, outcome, retained=intent.admission.bound_nanos)
    event.http_status = http_status
    if latency_ms is not None:
        event.latency_ms = latency_ms
    for index, line in enumerate(metered.lines):
        raw = metered.raw_usage if index == 0 else None
        event.lines.append(_line(line, raw))
    return event


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
    if who.metadata is not None:
        metadata = struct_pb2.Struct()
        metadata.update(orjson.loads(who.metadata))
        event.metadata.CopyFrom(metadata)
    if admission.lease_id:
        event.funding.add(
            lease_id=admission.lease_id, bound_nanos=admission.bound_nanos, retained_nanos=retained
        )
    return event


def _line(line: Line, raw_usage: bytes | None) -> event_pb2.UsageLine:
    return event_pb2.UsageLine(
        provider=line.provider,
        model=line.model,
        requested_model="" if line.requested_model == line.model else line.requested_model,
        tier=line.tier,
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
