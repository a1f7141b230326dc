"""The answers of intake in the contract's messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om.ingestion.v1 import ingestion_service_pb2 as pb
from om_server.ingestion import envelope
from om_server.ingestion.operations import IntakeResult, IntakeState
from om_server.rpc import convert
from om_server.rpc.event_writer import event_to_proto

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om.type.v1 import event_pb2
    from om_server.ingestion.standing import EventStanding, LetterResult
    from om_server.ingestion.store import DeadLetter

_STATES = {
    IntakeState.ACCEPTED: pb.INGEST_STATE_ACCEPTED,
    IntakeState.DUPLICATE: pb.INGEST_STATE_DUPLICATE,
    IntakeState.REJECTED: pb.INGEST_STATE_REJECTED,
}


def response_to_proto(batch_id: str, results: Sequence[IntakeResult]) -> pb.IngestEventsResponse:
    """Write the answers for a batch, and count them."""
    counts = dict.fromkeys(IntakeState, 0)
    for result in results:
        counts[result.state] += 1
    return pb.IngestEventsResponse(
        results=[result_to_proto(result) for result in results],
        batch_id=batch_id,
        accepted_count=counts[IntakeState.ACCEPTED],
        duplicate_count=counts[IntakeState.DUPLICATE],
        rejected_count=counts[IntakeState.REJECTED],
    )


def result_to_proto(result: IntakeResult) -> pb.IngestResult:
    """Write the answer for one event."""
    if result.error is None:
        return pb.IngestResult(event_id=result.event_id, state=_STATES[result.state])
    return pb.IngestResult(
        event_id=result.event_id,
        state=_STATES[result.state],
        reason=convert.reason_to_proto(result.error.reason),
        message=result.error.message,
        field=result.error.metadata.get("field", ""),
    )


def dead_letter_to_proto(letter: DeadLetter) -> pb.DeadLetter:
    """Write one dead letter. What cannot be read is not shown: nobody knows what is in it."""
    return pb.DeadLetter(
        dead_letter_id=letter.dead_letter_id,
        event_id=letter.event_id,
        reason=convert.reason_to_proto(letter.reason),
        message=letter.message,
        attempt_count=letter.attempt_count,
        receive_time=convert.timestamp_to_proto(letter.receive_time),
        create_time=convert.timestamp_to_proto(letter.create_time),
        event=_event_of(letter),
    )


def _event_of(letter: DeadLetter) -> event_pb2.UsageEvent | None:
    try:
        (event,) = envelope.unpack(letter.envelope)
    except (envelope.EnvelopeUnreadable, ValueError):
        return None
    return event_to_proto(event)


def replay_to_proto(result: LetterResult) -> pb.ReplayResult:
    """Write what became of a dead letter."""
    return pb.ReplayResult(
        dead_letter_id=result.dead_letter_id,
        event_id=result.event_id,
        state=pb.ReplayState.Value(f"REPLAY_STATE_{result.state.value}"),
        reason=convert.reason_to_proto(result.reason),
        message=result.message,
    )


def standing_to_proto(standing: EventStanding) -> pb.GetEventStatusResponse:
    """Write where an event stands."""
    return pb.GetEventStatusResponse(
        state=pb.EventState.Value(f"EVENT_STATE_{standing.state.value}"),
        settle_time=convert.optional_timestamp_to_proto(standing.settle_time),
        reason=convert.reason_to_proto(standing.reason),
        message=standing.message,
    )
