"""POST /v1/events/ingest: a batch in, an answer for each event out."""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import grpc
import orjson

from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.type.v1.error_reason_pb2 import ErrorReason
from om_server.rest.channel import Server
from om_server.rest.documented.endpoint import Answer
from om_server.rest.documented.monthly_quota import QUOTA_EXCEEDED, quota_headers, quota_refusal
from om_server.rest.documented.published_event import EventRefused, fill_event
from om_server.rest.errors import FieldProblem, RequestMalformed, problem_from_rpc
from om_server.rest.request import LARGE_BODY_BYTES, Request

EVENTS_MAX = 1000

_ACCEPTED, _DUPLICATE, _REJECTED = "accepted", "duplicate", "rejected"
_STATUSES = {
    ingestion_pb.INGEST_STATE_ACCEPTED: _ACCEPTED,
    ingestion_pb.INGEST_STATE_DUPLICATE: _DUPLICATE,
    ingestion_pb.INGEST_STATE_REJECTED: _REJECTED,
}
#: Where the contract's path of a wrong field leads in a published event.
_PUBLISHED_FIELDS = {"occur_time": "timestamp", "type": "event_type"}
_PATH_FRAME = re.compile(r"^(attribution|lines\[\d+\])\.")


@dataclass(frozen=True, slots=True)
class EventResult:
    """What became of one event of a batch."""

    event_id: str
    status: str
    reason: str | None = None
    message: str | None = None
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The events that could be read, as a request, and the results of the others by their position."""

    request: ingestion_pb.IngestEventsRequest
    refused: dict[int, EventResult] = field(default_factory=dict)


class IngestEvents:
    """Ingestion as published, with one answer for each event."""

    def __init__(self, server: Server, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._seconds = seconds

    async def __call__(self, request: Request) -> Answer:
        started = self._seconds()
        raw = await request.body()
        if len(raw) > LARGE_BODY_BYTES:
            batch = await asyncio.to_thread(read_batch, raw)
        else:
            batch = read_batch(raw)
        if batch.request.events:
            try:
                reply = await self._server.ask(
                    self._server.ingestion.IngestEvents, batch.request, context=request.context
                )
            except grpc.aio.AioRpcError as error:
                problem = problem_from_rpc(error)
                if problem.reason != QUOTA_EXCEEDED:
                    raise
                return quota_refusal(problem)
        else:
            # Nothing reaches the server, so the credential is checked here.
            await self._server.confirm_credential(request.context)
            reply = ingestion_pb.IngestEventsResponse()
        results = list(merged(batch, reply.results))
        elapsed_ms = int((self._seconds() - started) * 1000)
        answer = ingest_answer(results, batch_id=reply.batch_id, elapsed_ms=elapsed_ms)
        return replace(answer, headers=quota_headers(reply))


def read_batch(raw: bytes) -> Batch:
    """Read a body. RequestMalformed if no event in it can be told from another."""
    batch = Batch(ingestion_pb.IngestEventsRequest())
    events = batch.request.events
    for position, published in enumerate(_items(raw)):
        target = events.add()
        try:
            fill_event(target, published)
        except EventRefused as error:
            refusal = error.refusal
            batch.refused[position] = EventResult(
                event_id=target.event_id,
                status=_REJECTED,
                reason=refusal.reason,
                message=refusal.message,
                field=refusal.field or None,
            )
            del events[-1]
    return batch


def _items(raw: bytes) -> list[object]:
    if not raw.strip():
        raise _malformed("", "Body cannot be empty when content-type is set to 'application/json'")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise _malformed("", "Body is not valid JSON but content-type is set to 'application/json'") from None
    if not isinstance(body, dict):
        raise _malformed("body/", f"Invalid input: expected object, received {_json_type(body)}")
    events = body.get("events")
    if not isinstance(events, list):
        received = _json_type(events) if "events" in body else "undefined"
        raise _malformed("body/events", f"Invalid input: expected array, received {received}")
    if not events:
        raise _malformed("body/events", "Too small: expected array to have >=1 items")
    if len(events) > EVENTS_MAX:
        raise _malformed("body/events", f"Too big: expected array to have <={EVENTS_MAX} items")
    return events


def _malformed(where: str, reason: str) -> RequestMalformed:
    return RequestMalformed(FieldProblem(where, reason))


def _json_type(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def merged(batch: Batch, answered: Iterable[ingestion_pb.IngestResult]) -> Iterator[EventResult]:
    """The results of all events in the order sent: the server's, and those that never reached it."""
    from_server = iter(answered)
    for position in range(len(batch.request.events) + len(batch.refused)):
        refused = batch.refused.get(position)
        yield refused or _result(next(from_server))


def _result(answer: ingestion_pb.IngestResult) -> EventResult:
    status = _STATUSES[answer.state]
    if status != _REJECTED:
        return EventResult(answer.event_id, status)
    return EventResult(
        event_id=answer.event_id,
        status=status,
        reason=ErrorReason.Name(answer.reason).removeprefix("ERROR_REASON_"),
        message=answer.message,
        field=_published_field(answer.field) or None,
    )


def _published_field(path: str) -> str:
    name = _PATH_FRAME.sub("", path)
    return _PUBLISHED_FIELDS.get(name, name)


def ingest_answer(results: Sequence[EventResult], *, batch_id: str, elapsed_ms: int) -> Answer:
    """The published answer and, beside it, each event's result and what the TypeScript client names.

    202 if anything was queued; 200 if nothing was, because it is known; 400 if every event was rejected,
    because a client must not take that for success.
    """
    counts = dict.fromkeys((_ACCEPTED, _DUPLICATE, _REJECTED), 0)
    for result in results:
        counts[result.status] += 1
    rejected = [result for result in results if result.status == _REJECTED]
    body: dict[str, object] = {
        "accepted": counts[_ACCEPTED],
        "rejected": counts[_REJECTED],
        "duplicates": counts[_DUPLICATE],
        "batch_id": batch_id or None,
        "status": "processing",
        "processing_time_ms": elapsed_ms,
        "results": [_result_body(result) for result in results],
        "success": not rejected,
        "processed": counts[_ACCEPTED] + counts[_DUPLICATE],
        "failed": counts[_REJECTED],
        "errors": [{"eventId": result.event_id, "error": result.message} for result in rejected],
    }
    if counts[_ACCEPTED]:
        return Answer(202, body)
    if not rejected:
        message = "All events were duplicates"
        return Answer(200, body | {"status": "all_duplicates", "message": message})
    if counts[_DUPLICATE]:
        return Answer(200, body | {"status": "nothing_new"})
    position, first = next((i, result) for i, result in enumerate(results) if result.status == _REJECTED)
    where = f"body/events/{position}/{first.field or ''}"
    return Answer(
        400, body | {"status": "rejected", "error": "Bad Request", "message": f"{where} {first.message}"}
    )


def _result_body(result: EventResult) -> dict[str, object]:
    return {
        "event_id": result.event_id,
        "status": result.status,
        "reason": result.reason,
        "message": result.message,
        "field": result.field,
    }
