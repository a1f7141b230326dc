"""Settled events and their lines as rows, and back."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from om_server.analytics.settled import SettledEvent, SettledLine, SettledState
from om_server.analytics.table import EventRow, LineRow
from om_server.core.event import Attribution, EdgePosition, Event, EventType, Funding, Outcome, UsageLine
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.storage.batch import Row

#: What rating and charging decide of an event and of a line; the rest is as it was reported.
EVENT_RATING = (
    "state",
    "flags",
    "unrated_reason",
    "cost",
    "charge",
    "burn_table_version",
    "wallet_id",
    "receivable",
    "settle_time",
)
LINE_RATING = ("priced_model", "price_version", "context_threshold", "cost", "charge")


def event_rating(settled: SettledEvent) -> Row:
    """Return the columns of EVENT_RATING."""
    return (
        settled.state.value,
        _json(settled.flags),
        settled.unrated_reason,
        settled.cost if settled.rated else None,
        settled.charge if settled.rated else None,
        settled.burn_table_version,
        settled.wallet_id,
        settled.receivable,
        settled.settle_time,
    )


def line_rating(settled: SettledEvent, position: int) -> Row:
    """Return the columns of LINE_RATING."""
    share = settled.lines[position]
    return (
        share.priced_model,
        share.price_version,
        share.context_threshold,
        share.cost if settled.rated else None,
        share.charge if settled.rated else None,
    )


def marked(tag: str) -> str:
    """A tag as it stands in the column: JSON between line breaks, which JSON text never contains."""
    return f"\n{_json(tag)}\n"


def tags_to_text(tags: Iterable[str]) -> str:
    """A JSON array in which every element has line breaks around it, so that SQL can find a whole tag."""
    return f"[{','.join(map(marked, tags))}]"


def event_to_row(settled: SettledEvent) -> Row:
    """Return the columns of an event, in their order."""
    event, attribution, edge = settled.event, settled.event.attribution, settled.event.edge
    return (
        event.organization_id,
        event.source,
        event.event_id,
        event.event_type.value,
        settled.state.value,
        event.outcome.value,
        event.sandbox,
        event.unfunded,
        attribution.team_id,
        event.key_id,
        attribution.customer_id,
        attribution.user_id,
        attribution.feature_id,
        attribution.prompt_key,
        attribution.prompt_version,
        tags_to_text(attribution.tags),
        event.metadata_json,
        _json(settled.flags),
        settled.unrated_reason,
        settled.cost if settled.rated else None,
        settled.charge if settled.rated else None,
        settled.burn_table_version,
        settled.wallet_id,
        _json([(part.lease_id, part.bound, part.retained) for part in event.funding]),
        settled.receivable,
        edge.edge_id if edge is not None else "",
        edge.edge_epoch if edge is not None else None,
        edge.sequence if edge is not None else None,
        event.http_status,
        event.latency_ms,
        event.idempotency_key,
        event.job_id,
        event.event_time,
        event.receive_time,
        settled.settle_time,
    )


def line_to_row(settled: SettledEvent, position: int) -> Row:
    """Return the columns of a line, in their order."""
    share = settled.lines[position]
    line = share.line
    return (
        settled.event.organization_id,
        settled.event.source,
        settled.event.event_id,
        position,
        line.provider.lower(),
        line.model,
        line.requested_model,
        line.tier,
        _json(
            [(quantity.unit, quantity.amount, quantity.certainty.value) for quantity in line.usage.quantities]
        ),
        _json(dict(line.attributes)),
        line.raw_usage,
        share.priced_model,
        share.price_version,
        share.context_threshold,
        share.cost if settled.rated else None,
        share.charge if settled.rated else None,
    )


def event_from_row(row: EventRow, lines: tuple[SettledLine, ...]) -> SettledEvent:
    """Read an event back."""
    event = Event(
        organization_id=row.organization_id,
        source=row.source,
        event_id=row.event_id,
        event_type=EventType(row.event_type),
        event_time=row.event_time,
        receive_time=row.receive_time,
        attribution=Attribution(
            customer_id=row.customer_id,
            user_id=row.user_id,
            team_id=row.team_id,
            feature_id=row.feature_id,
            prompt_key=row.prompt_key,
            prompt_version=row.prompt_version,
            tags=tuple(orjson.loads(row.tags)),
        ),
        lines=tuple(line.line for line in lines),
        outcome=Outcome(row.outcome),
        metadata_json=row.metadata,
        idempotency_key=row.idempotency_key,
        sandbox=row.sandbox,
        key_id=row.key_id,
        edge=_edge_from_row(row),
        funding=tuple(Funding(*part) for part in orjson.loads(row.funding)),
        wallet_id=row.wallet_id,
        unfunded=row.unfunded,
        job_id=row.job_id,
        http_status=row.http_status,
        latency_ms=row.latency_ms,
        flags=tuple(orjson.loads(row.flags)),
    )
    return SettledEvent(
        event=event,
        state=SettledState(row.state),
        cost=row.cost,
        charge=row.charge,
        lines=lines,
        settle_time=row.settle_time,
        wallet_id=row.wallet_id,
        receivable=row.receivable,
        flags=event.flags,
        unrated_reason=row.unrated_reason,
        burn_table_version=row.burn_table_version,
    )


def _edge_from_row(row: EventRow) -> EdgePosition | None:
    if row.edge_epoch is None or row.edge_sequence is None:
        return None
    return EdgePosition(row.edge_id, row.edge_epoch, row.edge_sequence)


def line_from_row(row: LineRow) -> SettledLine:
    """Read a line back."""
    quantities = (
        Quantity(unit, amount, Certainty(certainty))
        for unit, amount, certainty in orjson.loads(row.quantities)
    )
    line = UsageLine(
        provider=row.provider,
        model=row.model,
        usage=Usage(tuple(quantities)),
        requested_model=row.requested_model,
        tier=row.tier,
        attributes=orjson.loads(row.attributes),
        raw_usage=row.raw_usage,
    )
    return SettledLine(
        line=line,
        cost=row.cost,
        charge=row.charge,
        priced_model=row.priced_model,
        price_version=row.price_version,
        context_threshold=row.context_threshold,
    )


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
