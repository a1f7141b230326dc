"""Settled events and their lines as rows, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import orjson
import peewee

from om_server.analytics.settled import SettledEvent, SettledLine, SettledState
from om_server.analytics.table import EventRow, LineRow
from om_server.core.event import Attribution, EdgePosition, Event, EventType, Funding, Outcome, UsageLine
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.storage.batch import Row
from om_server.storage.statement import Row as StoredRow

#: Source and id of an event within its organization.
Identity = tuple[str, str]

EVENT_COLUMNS: tuple[peewee.Field, ...] = tuple(EventRow._meta.sorted_fields)  # noqa: SLF001 - peewee's documented way
LINE_COLUMNS: tuple[peewee.Field, ...] = tuple(LineRow._meta.sorted_fields)  # noqa: SLF001 - as above

# To look a member up in its class takes several times as long, and every event of a page has six of them.
_EVENT_TYPES = {kind.value: kind for kind in EventType}
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_STATES = {state.value: state for state in SettledState}
_CERTAINTIES = {certainty.value: certainty for certainty in Certainty}

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


def identity_of(row: StoredRow) -> Identity:
    """Return what names an event within its organization, of a row of the event or of a line."""
    return row[1], row[2]


def with_lines(rows: Sequence[StoredRow], lines: Iterable[StoredRow]) -> list[SettledEvent]:
    """Make events of rows of EVENT_COLUMNS, and of rows of LINE_COLUMNS by position, maybe of others."""
    shares: dict[Identity, list[SettledLine]] = {identity_of(row): [] for row in rows}
    for row in lines:
        if (found := shares.get(identity_of(row))) is not None:
            found.append(_line_from_row(row))
    return [_event_from_row(row, tuple(shares[identity_of(row)])) for row in rows]


def _event_from_row(row: StoredRow, lines: tuple[SettledLine, ...]) -> SettledEvent:
    (
        organization_id, source, event_id, event_type, state, outcome, sandbox, unfunded, team_id, key_id,
        customer_id, user_id, feature_id, prompt_key, prompt_version, tags, metadata, flag_list,
        unrated_reason, cost, charge, burn_table_version, wallet_id, funding, receivable,
        edge_id, edge_epoch, edge_sequence, http_status, latency_ms, idempotency_key, job_id,
        event_time, receive_time, settle_time,
    ) = row  # fmt: skip
    flags = tuple(orjson.loads(flag_list))
    event = Event(
        organization_id=organization_id,
        source=source,
        event_id=event_id,
        event_type=_EVENT_TYPES[event_type],
        event_time=event_time,
        receive_time=receive_time,
        attribution=Attribution(
            customer_id=customer_id,
            user_id=user_id,
            team_id=team_id,
            feature_id=feature_id,
            prompt_key=prompt_key,
            prompt_version=prompt_version,
            tags=tuple(orjson.loads(tags)),
        ),
        lines=tuple([line.line for line in lines]),
        outcome=_OUTCOMES[outcome],
        metadata_json=metadata,
        idempotency_key=idempotency_key,
        sandbox=bool(sandbox),
        key_id=key_id,
        edge=_edge(edge_id, edge_epoch, sequence=edge_sequence),
        funding=tuple([Funding(*part) for part in orjson.loads(funding)]),
        wallet_id=wallet_id,
        unfunded=bool(unfunded),
        job_id=job_id,
        http_status=http_status,
        latency_ms=latency_ms,
        flags=flags,
    )
    return SettledEvent(
        event=event,
        state=_STATES[state],
        cost=cost,
        charge=charge,
        lines=lines,
        settle_time=settle_time,
        wallet_id=wallet_id,
        receivable=receivable,
        flags=flags,
        unrated_reason=unrated_reason,
        burn_table_version=burn_table_version,
    )


def _edge(edge_id: str, epoch: int | None, *, sequence: int | None) -> EdgePosition | None:
    return None if epoch is None or sequence is None else EdgePosition(edge_id, epoch, sequence)


def _line_from_row(row: StoredRow) -> SettledLine:
    (
        provider, model, requested_model, tier, quantities, attributes, raw_usage,
        priced_model, price_version, context_threshold, cost, charge,
    ) = row[4:]  # fmt: skip
    known = [
        Quantity(unit, amount, _CERTAINTIES[certainty])
        for unit, amount, certainty in orjson.loads(quantities)
    ]
    line = UsageLine(
        provider=provider,
        model=model,
        usage=Usage(tuple(known)),
        requested_model=requested_model,
        tier=tier,
        attributes=orjson.loads(attributes),
        raw_usage=raw_usage,
    )
    return SettledLine(line, cost, charge, priced_model, price_version, context_threshold)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
