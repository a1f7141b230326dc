"""How a call ended, as the event that is reported: exactly one for each admitted call."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import field, replace
from typing import Protocol

import orjson
from google.protobuf import timestamp_pb2

from om.type.v1 import event_pb2, usage_pb2
from om_proxy.admission.keys import Key
from om_proxy.admission.labels import attribution_of
from om_proxy.call.call import Call
from om_proxy.dialects.attribution import Attribution
from om_proxy.funding.grant import Grant, RatesOf, kept_nanos
from om_proxy.funding.rates import ModelRates
from om_proxy.metering.reading import EndedJob, Line, Metered
from om_proxy.metering.usage import Certainty, Quantity, Unit, Usage, tokens_of
from om_proxy.refusals.refusal import Problem
from om_proxy.value import value_type

#: Deeper metadata cannot be read by the server: messages nest at most 100 levels, JSON takes three for each.
METADATA_DEPTH_MAX = 16
#: As the contract says; what is longer would make the event invalid, and invalid is not charged.
_TIER_MAX = 64

_CERTAINTIES = {
    Certainty.MEASURED: usage_pb2.CERTAINTY_MEASURED,
    Certainty.ESTIMATED: usage_pb2.CERTAINTY_ESTIMATED,
    Certainty.UNKNOWN: usage_pb2.CERTAINTY_UNKNOWN,
}


class Stretch(Protocol):
    """What makes a grant grow with its stream."""

    async def cover(self, used: int, written: Callable[[], Awaitable[None]]) -> Problem | None:
        """Pay for so many tokens, or say why that cannot be. `written` writes the grown grant down."""
        ...


def no_rates(provider: str, model: str) -> ModelRates | None:
    """Know no model: what a call keeps is then its whole bound."""
    del provider, model
    return None


@value_type(frozen=True, slots=True)
class Intent:
    """A call that was admitted, before it is made. Its time chooses the prices."""

    event_id: str
    key: Key
    who: Attribution
    call: Call
    grant: Grant
    #: The rate card as it was.
    rates_of: RatesOf = no_rates
    time_ns: int = field(default_factory=time.time_ns)
    #: Where the grant pays only for the beginning of the answer.
    stretch: Stretch | None = None
    #: Soft limits that a call with these labels passed when the server was last asked.
    limit_warnings: tuple[str, ...] = ()
    #: What every event about the call says. To be copied.
    common: event_pb2.UsageEvent = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "common", _common(self))

    @property
    def sandbox(self) -> bool:
        """Whether the simulator answers and nothing is charged."""
        return self.who.sandbox or self.key.test_mode


def pending(intent: Intent) -> event_pb2.UsageEvent:
    """What is reported if nothing more becomes known: the prompt was read, and the whole bound is kept.

    No output is an estimate, and the outcome says that the end was not seen.
    """
    return _unknown(intent, (_guess(intent, Quantity(Unit.OUTPUT_TOKENS, 0, Certainty.ESTIMATED)),))


def progress(intent: Intent, metered: Metered) -> event_pb2.UsageEvent:
    """What is reported if nothing more becomes known of a call that has come so far.

    Deferred work is found again by its id, and would be charged twice if it were estimated here as well.
    """
    if metered.job_id is not None:
        return _deferred(intent, metered)
    return _unknown(intent, metered.lines) if metered.lines else pending(intent)


def zero(intent: Intent, *, http_status: int = 0) -> event_pb2.UsageEvent:
    """Nothing was consumed: not sent, or refused by the provider. The whole bound returns."""
    event = _event(intent, event_pb2.OUTCOME_ZERO, kept=0)
    event.http_status = http_status
    return event


def job_ends(intent: Intent, metered: Metered) -> list[event_pb2.UsageEvent]:
    """The ends of deferred work that an answer shows. They belong to the calls that began it, not to this."""
    return [_job_end(intent, job) for job in metered.ended]


def consumed(intent: Intent, metered: Metered, *, http_status: int, latency_ms: int) -> event_pb2.UsageEvent:
    """What the meter read. A figure that is not the provider's own makes the outcome an estimate."""
    if metered.job_id is not None:
        event = _deferred(intent, metered)
    elif not metered.lines:
        return zero(intent, http_status=http_status)
    else:
        kept = kept_nanos(intent.grant, metered.lines, intent.rates_of)
        event = _event(intent, _outcome_of(metered.lines), kept=kept)
        for index, line in enumerate(metered.lines):
            _add_line(event, line, metered.raw_usage if index == 0 else None)
    event.http_status = http_status
    event.latency_ms = latency_ms
    return event


def unread(intent: Intent, *, http_status: int, latency_ms: int) -> event_pb2.UsageEvent:
    """The answer could not be read, through a defect of ours: what came out is unknown, which is not zero."""
    line = _guess(intent, Quantity(Unit.OUTPUT_TOKENS, None, Certainty.UNKNOWN))
    return consumed(intent, Metered((line,)), http_status=http_status, latency_ms=latency_ms)


def _deferred(intent: Intent, metered: Metered) -> event_pb2.UsageEvent:
    event = _event(intent, event_pb2.OUTCOME_DEFERRED, kept=intent.grant.bound_nanos)
    event.job_id = metered.job_id or ""
    for line in metered.lines:
        _add_line(event, line, None)
    return event


def _guess(intent: Intent, output: Quantity) -> Line:
    """Say what can be said of a call without its answer."""
    call = intent.call
    prompt = Quantity(Unit.INPUT_TOKENS, tokens_of(call.demand.text_bytes), Certainty.ESTIMATED)
    return Line(call.provider, call.model, call.model, call.tier or "standard", Usage((prompt, output)))


def _outcome_of(lines: tuple[Line, ...]) -> event_pb2.Outcome.ValueType:
    measured = Metered(lines).measured
    return event_pb2.OUTCOME_CHARGED if measured else event_pb2.OUTCOME_ESTIMATED


def _job_end(intent: Intent, job: EndedJob) -> event_pb2.UsageEvent:
    outcome = _outcome_of(job.lines) if job.lines else event_pb2.OUTCOME_ZERO
    event = _event(replace(intent, grant=Grant()), outcome, kept=0)
    name = f"{intent.call.provider}:{job.job_id}"
    event.event_id = f"part:{name}:{job.part}" if job.part else f"job:{name}"
    for index, line in enumerate(job.lines):
        _add_line(event, line, job.raw_usage if index == 0 else None)
    return event


def _unknown(intent: Intent, lines: tuple[Line, ...]) -> event_pb2.UsageEvent:
    event = _event(intent, event_pb2.OUTCOME_UNKNOWN, kept=intent.grant.bound_nanos)
    for line in lines:
        _add_line(event, line, None)
    return event


def _event(intent: Intent, outcome: event_pb2.Outcome.ValueType, *, kept: int) -> event_pb2.UsageEvent:
    event = event_pb2.UsageEvent()
    event.CopyFrom(intent.common)
    event.outcome = outcome
    # A stream may have gone on without money since it began.
    event.unfunded = intent.grant.unfunded
    for part, share in zip(intent.grant.parts, intent.grant.shares(kept), strict=True):
        event.funding.add(lease_id=part.lease_id, bound_nanos=part.bound_nanos, retained_nanos=share)
    return event


def _common(intent: Intent) -> event_pb2.UsageEvent:
    who, grant = intent.who, intent.grant
    event = event_pb2.UsageEvent(
        event_id=intent.event_id,
        source="proxy",
        occur_time=timestamp_pb2.Timestamp(
            seconds=intent.time_ns // 10**9, nanos=intent.time_ns % 10**9 // 1000 * 1000
        ),
        type=event_pb2.EVENT_TYPE_TOKEN_USAGE,
        attribution=attribution_of(who),
        key_id=intent.key.key_id,
        wallet_id=grant.wallet_id,
        sandbox=intent.sandbox,
    )
    if who.metadata is not None and (metadata := orjson.loads(who.metadata)) and _depth_fits(metadata):
        event.metadata.update(metadata)
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


def _add_line(event: event_pb2.UsageEvent, line: Line, raw_usage: bytes | None) -> None:
    """Write a line where it belongs: what is made elsewhere first is copied, and takes twice as long."""
    added = event.lines.add(
        provider=line.provider,
        model=line.model,
        requested_model="" if line.requested_model == line.model else line.requested_model,
        tier=line.tier[:_TIER_MAX],
    )
    if raw_usage is not None:
        added.raw_usage_json = raw_usage.decode()
    if line.attributes:
        added.attributes.update(line.attributes)
    added.usage.SetInParent()
    quantities = added.usage.quantities
    for quantity in line.usage.quantities:
        quantities.add(unit=quantity.unit, amount=quantity.amount, certainty=_CERTAINTIES[quantity.certainty])
