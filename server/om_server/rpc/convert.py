"""Shared translations between messages and values, in one grammar: money_to_proto, money_from_proto.

What a caller sent wrong is a DomainError whose metadata names the field, as a path from the message
that was translated. Shape rules are checked before, by Validation.
"""

from dataclasses import dataclass
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from om.type.v1 import error_reason_pb2, event_pb2, money_pb2, usage_pb2
from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import DomainError, InvalidArgument
from om_server.core.event import (
    SOURCE_API,
    Attribution,
    EdgePosition,
    Event,
    EventType,
    Funding,
    Outcome,
    UsageLine,
)
from om_server.core.money import CREDITS, Money
from om_server.core.page import PageRequest
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.rpc.convert_struct import struct_from_proto
from om_server.rpc.validation import RequestInvalid, violations

# What a Timestamp may hold: the years 1 to 9999.
_SECONDS_MIN, _SECONDS_MAX = -62_135_596_800, 253_402_300_799
_NANOS_PER_MICRO = 1000
_NANOS_PER_SECOND = 1_000_000_000

#: A line without usage consumed something and nobody knows what. Two unknown quantities say so and keep
#: the line unrated; no quantities at all would say that it reports nothing.
USAGE_UNKNOWN = Usage(
    (
        Quantity("input_tokens", None, Certainty.UNKNOWN),
        Quantity("output_tokens", None, Certainty.UNKNOWN),
    )
)

CERTAINTIES = {
    usage_pb2.CERTAINTY_MEASURED: Certainty.MEASURED,
    usage_pb2.CERTAINTY_ESTIMATED: Certainty.ESTIMATED,
    usage_pb2.CERTAINTY_UNKNOWN: Certainty.UNKNOWN,
}

_EVENT_TYPES = {event_pb2.EventType.Value(f"EVENT_TYPE_{kind.name}"): kind for kind in EventType} | {
    event_pb2.EVENT_TYPE_UNSPECIFIED: EventType.TOKEN_USAGE
}
_OUTCOMES = {event_pb2.Outcome.Value(f"OUTCOME_{outcome.name}"): outcome for outcome in Outcome} | {
    event_pb2.OUTCOME_UNSPECIFIED: Outcome.CHARGED
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an event comes from, as the server knows it: the sender is not asked.

    The key decides organization and team. An empty source leaves the sender's, `api` where it names none.
    """

    organization_id: str
    team_id: str
    key_id: str
    receive_time: int
    source: str = ""
    edge: EdgePosition | None = None


class PageFields(Protocol):
    """What every List request has."""

    page_size: int
    page_token: str


def located(error: DomainError, path: str) -> DomainError:
    """Return the error with its field named from further out, where `path` leads to its message."""
    inner = error.metadata.get("field", "")
    field = f"{path}.{inner}" if inner else path
    if isinstance(error, InvalidArgument):
        return InvalidArgument(field, error.description)
    error.metadata["field"] = field
    return error


def page_from_proto(request: PageFields, *, skip: int = 0) -> PageRequest:
    return PageRequest.of(request.page_size, request.page_token, skip=skip)


def timestamp_from_proto(time: Timestamp, field: str) -> int:
    """Return microseconds since 1970, finer parts cut off; InvalidArgument names `field`."""
    if not (_SECONDS_MIN <= time.seconds <= _SECONDS_MAX and 0 <= time.nanos < _NANOS_PER_SECOND):
        raise InvalidArgument(field, "not between the years 1 and 9999")
    return time.seconds * MICROS_PER_SECOND + time.nanos // _NANOS_PER_MICRO


def write_timestamp(micros: int, target: Timestamp) -> None:
    """Set a timestamp where it stands in another message."""
    target.seconds, rest = divmod(micros, MICROS_PER_SECOND)
    target.nanos = rest * _NANOS_PER_MICRO


def timestamp_to_proto(micros: int) -> Timestamp:
    message = Timestamp()
    write_timestamp(micros, message)
    return message


def optional_timestamp_to_proto(micros: int | None) -> Timestamp | None:
    """Return nothing for nothing: a message field that is set to None stays absent."""
    return None if micros is None else timestamp_to_proto(micros)


def money_from_proto(money: money_pb2.Money) -> Money:
    return Money(money.currency_code, money.amount_nanos)


def write_money(money: Money, target: money_pb2.Money) -> None:
    """Set an amount where it stands in another message."""
    target.currency_code, target.amount_nanos = money.currency, money.nanos


def money_to_proto(money: Money) -> money_pb2.Money:
    return money_pb2.Money(currency_code=money.currency, amount_nanos=money.nanos)


def credits_to_proto(nanos: int) -> money_pb2.Money:
    """Return an amount of credits that is known in nano-credits."""
    return money_pb2.Money(currency_code=CREDITS, amount_nanos=nanos)


def quantity_from_proto(quantity: usage_pb2.Quantity) -> Quantity:
    certainty = CERTAINTIES.get(quantity.certainty)
    if certainty is None:
        raise InvalidArgument("certainty", "must be measured, estimated or unknown")
    return Quantity(quantity.unit, quantity.amount if quantity.HasField("amount") else None, certainty)


def usage_from_proto(usage: usage_pb2.Usage) -> Usage:
    quantities = []
    for index, quantity in enumerate(usage.quantities):
        try:
            quantities.append(quantity_from_proto(quantity))
        except DomainError as error:
            raise located(error, f"quantities[{index}]") from None
    try:
        return Usage(tuple(quantities))
    except DomainError as error:
        raise located(error, "quantities") from None


def usage_line_from_proto(line: event_pb2.UsageLine) -> UsageLine:
    """Translate a line; usage that is absent is unknown, not none."""
    try:
        usage = usage_from_proto(line.usage) if line.HasField("usage") else USAGE_UNKNOWN
    except DomainError as error:
        raise located(error, "usage") from None
    return UsageLine(
        provider=line.provider,
        model=line.model,
        usage=usage,
        requested_model=line.requested_model,
        tier=line.tier,
        attributes=dict(line.attributes),
        raw_usage=line.raw_usage_json,
    )


def attribution_from_proto(attribution: event_pb2.Attribution, *, team_id: str | None = None) -> Attribution:
    """Translate what is said; a `team_id` that is known better takes the place of the one said."""
    version = attribution.prompt_version if attribution.HasField("prompt_version") else None
    return Attribution(
        customer_id=attribution.customer_id,
        user_id=attribution.user_id,
        team_id=attribution.team_id if team_id is None else team_id,
        feature_id=attribution.feature_id,
        prompt_key=attribution.prompt_key,
        prompt_version=version,
        tags=tuple(attribution.tags),
    )


def reason_to_proto(reason: str) -> "error_reason_pb2.ErrorReason.ValueType":
    """Return the contract's value of a DomainError's reason; empty is unspecified."""
    return error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason or 'UNSPECIFIED'}")


def reason_from_proto(reason: "error_reason_pb2.ErrorReason.ValueType") -> str:
    name = error_reason_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_")
    return "" if name == "UNSPECIFIED" else name


def event_from_proto(message: event_pb2.UsageEvent, origin: Origin) -> Event:
    """Translate one event and check its shape; a DomainError names the field in its metadata.

    Without `occur_time` the event happened when it was received. The hash of the payload is left to
    intake, which knows what to hash.
    """
    occurred = message.HasField("occur_time")
    event = Event(
        organization_id=origin.organization_id,
        source=origin.source or message.source or SOURCE_API,
        event_id=message.event_id,
        event_type=event_type_from_proto(message.type),
        event_time=timestamp_from_proto(message.occur_time, "occur_time")
        if occurred
        else origin.receive_time,
        receive_time=origin.receive_time,
        attribution=attribution_from_proto(message.attribution, team_id=origin.team_id),
        lines=_lines_from_proto(message),
        outcome=outcome_from_proto(message.outcome),
        metadata_json=struct_from_proto(message.metadata, "metadata"),
        idempotency_key=message.idempotency_key,
        sandbox=message.sandbox,
        key_id=origin.key_id,
        edge=origin.edge,
        funding=tuple(funding_from_proto(part) for part in message.funding),
        wallet_id=message.wallet_id,
        unfunded=message.unfunded,
        job_id=message.job_id,
        http_status=message.http_status,
        latency_ms=message.latency_ms if message.HasField("latency_ms") else None,
        trace_parent=message.trace_parent,
    )
    _check_event(message)
    return event


def event_type_from_proto(event_type: "event_pb2.EventType.ValueType") -> EventType:
    """Translate the kind; the contract reads unspecified as TOKEN_USAGE."""
    found = _EVENT_TYPES.get(event_type)
    if found is None:
        raise InvalidArgument("type", "no event type of this contract")
    return found


def outcome_from_proto(outcome: "event_pb2.Outcome.ValueType") -> Outcome:
    """Translate the outcome; the contract reads unspecified as CHARGED."""
    found = _OUTCOMES.get(outcome)
    if found is None:
        raise InvalidArgument("outcome", "no outcome of this contract")
    return found


def funding_from_proto(funding: event_pb2.Funding) -> Funding:
    return Funding(funding.lease_id, funding.bound_nanos, funding.retained_nanos)


def _lines_from_proto(message: event_pb2.UsageEvent) -> tuple[UsageLine, ...]:
    lines = []
    for index, line in enumerate(message.lines):
        try:
            lines.append(usage_line_from_proto(line))
        except DomainError as error:
            raise located(error, f"lines[{index}]") from None
    return tuple(lines)


def _check_event(message: event_pb2.UsageEvent) -> None:
    """Check the shape after the translation, whose reasons are more exact: NEGATIVE_QUANTITY, UNKNOWN_UNIT.

    A missing id is left to intake, which has a reason for it.
    """
    broken = [found for found in violations(message) if message.event_id or found.field != "event_id"]
    if broken:
        raise RequestInvalid(broken)
