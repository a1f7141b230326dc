"""GET /v1/events/dlq and POST /v1/events/dlq/replay: the caller's own dead letters."""

import asyncio

from google.protobuf.timestamp_pb2 import Timestamp

from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.type.v1.error_reason_pb2 import ErrorReason
from om_server.rest.channel import Server
from om_server.rest.documented.endpoint import Answer
from om_server.rest.documented.json_body import JsonBody, read_json
from om_server.rest.documented.moment import iso_text
from om_server.rest.documented.reported_event import reported_fields
from om_server.rest.request import Request

_SHOWN_MAX = 100
_REPLAYED_MAX = 1000


class ListDeadLetters:
    """How many there are, and the first hundred, oldest first."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        letters, pipeline = await asyncio.gather(
            self._server.ask(
                self._server.ingestion.ListDeadLetters,
                ingestion_pb.ListDeadLettersRequest(page_size=_SHOWN_MAX),
                context=request.context,
            ),
            self._server.ask(
                self._server.ingestion.GetPipelineStatus,
                ingestion_pb.GetPipelineStatusRequest(),
                context=request.context,
            ),
        )
        return Answer(200, letters_body(letters, count=pipeline.dead_letter_count))


class ReplayDeadLetters:
    """Settles the named ones, or all. One that is not the caller's own is passed over like an unknown one."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        wanted = read_replay(await read_json(request, required=False))
        if wanted is None:
            await self._server.confirm_credential(request.context)
            return Answer(200, replay_body(ingestion_pb.ReplayDeadLettersResponse()))
        reply = await self._server.ask(
            self._server.ingestion.ReplayDeadLetters, wanted, context=request.context
        )
        return Answer(200, replay_body(reply))


def read_replay(body: JsonBody) -> ingestion_pb.ReplayDeadLettersRequest | None:
    """What is to be replayed: no list means all. An empty one means none, and so no request."""
    ids = body.texts("jobIds", most=_REPLAYED_MAX)
    body.check()
    return None if ids == [] else ingestion_pb.ReplayDeadLettersRequest(dead_letter_ids=ids)


def letters_body(reply: ingestion_pb.ListDeadLettersResponse, *, count: int) -> dict[str, object]:
    """The published list. Of an event that cannot be read there is only its id."""
    return {"counts": {"active": count}, "items": [_letter(letter) for letter in reply.dead_letters]}


def replay_body(reply: ingestion_pb.ReplayDeadLettersResponse) -> dict[str, object]:
    """The published sentence and count; beside them those that failed again, with the reason."""
    failed = [
        {"id": result.dead_letter_id, "reason": _reason(result.reason), "message": result.message}
        for result in reply.results
        if result.state == ingestion_pb.REPLAY_STATE_FAILED
    ]
    if reply.replayed_count:
        message = "Jobs replayed successfully"
    else:
        message = "No job could be replayed" if failed else "No jobs to replay"
    return {"message": message, "count": reply.replayed_count, "failed": failed}


def _letter(letter: ingestion_pb.DeadLetter) -> dict[str, object]:
    return {
        "id": letter.dead_letter_id,
        "name": "dlq-event",
        "data": {
            "event_id": letter.event_id,
            "enqueued_at": iso_text(letter.receive_time),
            "attempts": letter.attempt_count,
            **(reported_fields(letter.event) if letter.HasField("event") else {}),
        },
        "timestamp": _milliseconds(letter.create_time),
        "failedReason": letter.message or _reason(letter.reason),
    }


def _reason(reason: "ErrorReason.ValueType") -> str:
    return ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


def _milliseconds(time: Timestamp) -> int:
    return time.seconds * 1000 + time.nanos // 1_000_000
