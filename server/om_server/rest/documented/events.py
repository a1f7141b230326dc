"""GET /v1/events: settled events, newest first."""

from collections.abc import Iterable, Iterator, Mapping

from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om.type.v1.event_pb2 import EventType
from om.type.v1.money_pb2 import Money
from om_server.core.money import USD
from om_server.rest.channel import Server
from om_server.rest.documented.consumption import input_tokens, output_tokens
from om_server.rest.documented.dead_letters import ListDeadLetters, ReplayDeadLetters
from om_server.rest.documented.endpoint import Answer, Documented, Wording
from om_server.rest.documented.figure import exact_text, fixed_text
from om_server.rest.documented.ingest import IngestEvents
from om_server.rest.documented.moment import iso_text
from om_server.rest.documented.page_window import PageWindow, read_window
from om_server.rest.documented.published_event import EVENT_TYPE_NAMES, event_type_text, read_event_type
from om_server.rest.documented.query import Query
from om_server.rest.documented.selection import read_filter
from om_server.rest.documented.struct_value import plain_struct
from om_server.rest.errors import FieldProblem, RequestMalformed
from om_server.rest.request import Endpoint, Request

_COST_PLACES = 10


class ListEvents:
    """One page by limit and offset."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        query = Query(request.query)
        window = read_window(query)
        chosen = await read_filter(query, self._server, context=request.context)
        chosen.event_types.extend(event_types(query.texts("eventType")))
        sandbox = query.choice("sandbox", {"true": True, "false": False}, default=None)
        if sandbox is not None:
            chosen.sandbox = sandbox
        reply = await self._server.ask(
            self._server.analytics.ListEvents,
            analytics_pb.ListEventsRequest(filter=chosen, page_size=window.limit, skip=window.offset),
            context=request.context,
        )
        return Answer(200, events_body(reply, window))


def events_body(reply: analytics_pb.ListEventsResponse, window: PageWindow) -> dict[str, object]:
    """The published list with its page."""
    return {
        "data": [event_row(event) for event in reply.events],
        "pagination": window.body(reply.total_size),
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
        "metadata": plain_struct(event.metadata) if event.HasField("metadata") else None,
        "userId": event.attribution.user_id or None,
        "customerId": event.attribution.customer_id or None,
        "teamId": event.attribution.team_id or None,
        "sandbox": event.sandbox,
        "flags": list(settled.flags),
    }


def event_types(words: Iterable[str]) -> "Iterator[EventType.ValueType]":
    """The types that a query names, in any case; RequestMalformed for a word that is none."""
    for word in words:
        if (found := read_event_type(word)) is None:
            options = "|".join(f'"{name}"' for name in EVENT_TYPE_NAMES)
            raise RequestMalformed(
                FieldProblem("querystring/eventType", f"Invalid option: expected one of {options}")
            )
        yield found


def _dollars(cost: Money) -> str | None:
    return fixed_text(cost.amount_nanos, _COST_PLACES) if cost.currency_code in {"", USD} else None


def operations(server: Server) -> Mapping[str, Endpoint]:
    """Name the operations of this family."""
    listing, replaying = Wording("Failed to get DLQ items"), Wording("Failed to replay DLQ items")
    ingesting = Wording("Failed to ingest events", plain_bad_request=True)
    return {
        "ingestEvents": Documented(IngestEvents(server), server, wording=ingesting),
        "listPublishedDeadLetters": Documented(ListDeadLetters(server), server, wording=listing),
        "replayPublishedDeadLetters": Documented(ReplayDeadLetters(server), server, wording=replaying),
        "listEvents": Documented(ListEvents(server), server, wording=Wording("Failed to fetch events")),
    }
