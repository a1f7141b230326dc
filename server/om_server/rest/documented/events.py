"""GET /v1/events: settled events, newest first."""

from collections.abc import Mapping

from google.protobuf import json_format

from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om.type.v1.event_pb2 import EventType
from om.type.v1.money_pb2 import Money
from om_server.core.money import USD
from om_server.rest.channel import Server
from om_server.rest.documented.consumption import input_tokens, output_tokens
from om_server.rest.documented.endpoint import Answer, Documented, Wording
from om_server.rest.documented.figure import exact_text, fixed_text
from om_server.rest.documented.ingest import IngestEvents
from om_server.rest.documented.moment import iso_text
from om_server.rest.documented.query import Query
from om_server.rest.documented.selection import read_filter
from om_server.rest.request import Endpoint, Request

_LIMIT_DEFAULT = 50
_LIMIT_MAX = 100
_OFFSET_MAX = 2**31 - 1
_COST_PLACES = 10


class ListEvents:
    """One page by limit and offset."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        query = Query(request.query)
        limit = query.integer("limit", default=_LIMIT_DEFAULT, least=1, most=_LIMIT_MAX)
        offset = query.integer("offset", default=0, least=0, most=_OFFSET_MAX)
        chosen = await read_filter(query, self._server, context=request.context)
        reply = await self._server.ask(
            self._server.analytics.ListEvents,
            analytics_pb.ListEventsRequest(filter=chosen, page_size=limit, skip=offset),
            context=request.context,
        )
        return Answer(200, events_body(reply, limit=limit, offset=offset))


def events_body(reply: analytics_pb.ListEventsResponse, *, limit: int, offset: int) -> dict[str, object]:
    """The published list with its page."""
    return {
        "data": [event_row(event) for event in reply.events],
        "pagination": {"total": reply.total_size, "limit": limit, "offset": offset},
    }


def event_row(settled: analytics_pb.Event) -> dict[str, object]:
    """One event. Several lines are shown as the first line's model and the sum of their tokens.

    What is not known is null, never 0: tokens that nobody counted, and the money of an unrated event.
    """
    event = settled.event
    quantities = [quantity for line in event.lines for quantity in line.usage.quantities]
    # One of the two amounts may be known before the event is rated; it is not what will be charged.
    rated = settled.state != analytics_pb.RATING_STATE_UNRATED
    tokens_in, tokens_out = input_tokens(quantities), output_tokens(quantities)
    first = event.lines[0] if event.lines else None
    return {
        "id": event.event_id,
        "eventType": event_type_text(event.type),
        "featureId": event.attribution.feature_id,
        "provider": (first.provider.upper() or None) if first else None,
        "model": (first.model or None) if first else None,
        "inputTokens": None if tokens_in is None else str(tokens_in),
        "outputTokens": None if tokens_out is None else str(tokens_out),
        "creditsBurned": exact_text(settled.charge.amount_nanos) if rated else None,
        "costUsd": _dollars(settled.cost) if rated else None,
        "timestamp": iso_text(event.occur_time),
        "metadata": json_format.MessageToDict(event.metadata) if event.HasField("metadata") else None,
    }


def event_type_text(event_type: "EventType.ValueType") -> str:
    """The published name; an event that named no type reports tokens."""
    name = EventType.Name(event_type).removeprefix("EVENT_TYPE_")
    return "TOKEN_USAGE" if name == "UNSPECIFIED" else name


def _dollars(cost: Money) -> str | None:
    return fixed_text(cost.amount_nanos, _COST_PLACES) if cost.currency_code in {"", USD} else None


def operations(server: Server) -> Mapping[str, Endpoint]:
    """Name the operations of this family."""
    ingesting = Wording("Failed to ingest events", plain_bad_request=True)
    return {
        "ingestEvents": Documented(IngestEvents(server), server, wording=ingesting),
        "listEvents": Documented(ListEvents(server), server, wording=Wording("Failed to fetch events")),
    }
