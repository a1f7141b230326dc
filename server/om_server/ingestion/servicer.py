"""IngestionService on the wire: answers for each event, so that one bad event costs no neighbour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import structlog

from om.ingestion.v1 import ingestion_service_pb2 as pb
from om.ingestion.v1 import ingestion_service_pb2_grpc
from om.type.v1 import event_pb2
from om_server.core.errors import DomainError, InvalidArgument
from om_server.core.event import SOURCE_API, SOURCE_PROXY, EdgePosition, Funding
from om_server.ingestion.envelope import Unread
from om_server.ingestion.intake import EdgeFieldForbidden, letter_id
from om_server.ingestion.operations import (
    IngestionOperations,
    IntakeResult,
    IntakeState,
    Reported,
)
from om_server.ingestion.standing import LetterState
from om_server.ingestion.wire import (
    dead_letter_to_proto,
    replay_to_proto,
    response_to_proto,
    standing_to_proto,
)
from om_server.rpc import convert
from om_server.rpc.caller import Caller, Principal, caller

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import grpc

    from om_server.core.clock import Clock
    from om_server.ingestion.standing import LetterResult, SettledStandings

_log = structlog.get_logger(__name__)


class KeyOwner(Protocol):
    """Whose key it is."""

    @property
    def organization_id(self) -> str:
        """The organization."""

    @property
    def team_id(self) -> str:
        """The key's team."""


class KeyDirectory(Protocol):
    """Finds the owners of keys, revoked ones too: a late event still settles."""

    def __call__(self, key_ids: Sequence[str]) -> Mapping[str, KeyOwner]:
        """Owners by key id; a key that never was is absent."""


class LetterDesk(Protocol):
    """Settles or drops dead letters; `actor` is who asked for it."""

    def replay(self, organization_id: str, letter_ids: Sequence[str], *, actor: str) -> list[LetterResult]:
        """Settle letters, all if none is named."""

    def discard(self, organization_id: str, letter_ids: Sequence[str], *, actor: str) -> list[LetterResult]:
        """Drop letters, all if none is named."""


class IngestionServicer(ingestion_service_pb2_grpc.IngestionServiceServicer):
    """Translates between messages and the operations of intake."""

    def __init__(  # noqa: PLR0913 - what the composition root joins
        self,
        operations: IngestionOperations,
        *,
        key_owners: KeyDirectory,
        count_unrated: Callable[[str], int],
        settled: SettledStandings,
        letters: LetterDesk,
        clock: Clock,
    ) -> None:
        self._operations = operations
        self._key_owners = key_owners
        self._count_unrated = count_unrated
        self._settled = settled
        self._letters = letters
        self._clock = clock

    def IngestEvents(
        self, request: pb.IngestEventsRequest, context: grpc.ServicerContext
    ) -> pb.IngestEventsResponse:
        """Take a batch of an application or of an edge."""
        who = caller()
        if who.principal is Principal.SERVICE:
            return self._ingest_edge(request)
        if request.HasField("edge"):
            raise EdgeFieldForbidden("edge")
        return self._ingest_application(request, who)

    def _ingest_application(self, request: pb.IngestEventsRequest, who: Caller) -> pb.IngestEventsResponse:
        now = self._clock()
        results: list[IntakeResult | None] = []
        reports: list[Reported] = []
        for message in request.events:
            try:
                reports.append(self._report(message, who, now))
                results.append(None)
            except DomainError as error:
                results.append(IntakeResult(message.event_id, IntakeState.REJECTED, error))
        batch_id, answers = self._operations.ingest(who.organization_id, reports, from_edge=False)
        queue = iter(answers)
        response = response_to_proto(batch_id, [result or next(queue) for result in results])
        if (standing := self._operations.quota_standing(who.organization_id)) is not None:
            response.monthly_quota.limit = standing.limit
            response.monthly_quota.remaining = standing.remaining
        return response

    def _report(self, message: event_pb2.UsageEvent, who: Caller, now: int) -> Reported:
        if message.key_id or message.sequence:
            raise EdgeFieldForbidden("key_id" if message.key_id else "sequence")
        event = convert.event_from_proto(
            message,
            convert.Origin(
                organization_id=who.organization_id,
                team_id=who.team_id,
                key_id=who.key_id,
                receive_time=now,
            ),
        )
        return Reported(event, time_supplied=message.HasField("occur_time"))

    def _ingest_edge(self, request: pb.IngestEventsRequest) -> pb.IngestEventsResponse:
        """Take every event of an edge: it is money that moved already. What cannot be read is set aside.

        The organization comes from each event's key.
        """
        if not request.HasField("edge"):
            raise InvalidArgument("edge", "the service credential ingests for an edge")
        now = self._clock()
        # A zero character is in no key, and a database would refuse the question for the whole batch.
        owners = self._key_owners(
            [message.key_id for message in request.events if "\0" not in message.key_id]
        )
        results: list[IntakeResult] = [
            IntakeResult(message.event_id, IntakeState.ACCEPTED) for message in request.events
        ]
        by_organization: dict[str, list[tuple[int, Reported]]] = {}
        for position, message in enumerate(request.events):
            owner = owners.get(message.key_id)
            if owner is None:
                # Nobody's money: an edge only reports keys that the server told it of.
                _log.error("edge_event_without_key", edge_id=request.edge.edge_id, at=message.sequence)
                error = InvalidArgument("key_id", "no such key")
                results[position] = IntakeResult(message.event_id, IntakeState.REJECTED, error)
                continue
            try:
                report = _edge_report(message, request.edge, owner, now=now)
            except DomainError as error:
                name = letter_id(message.event_id, _position(message, request.edge))
                self._operations.set_aside(
                    owner.organization_id, name, error, unread=_unread(message, request.edge)
                )
                continue
            by_organization.setdefault(report.event.organization_id, []).append((position, report))
        batch_id = ""
        for organization_id, placed in by_organization.items():
            queued, answers = self._operations.ingest(
                organization_id, [report for _, report in placed], from_edge=True
            )
            batch_id = queued or batch_id
            for (position, _), answer in zip(placed, answers, strict=True):
                results[position] = answer
        return response_to_proto(batch_id, results)

    def GetPipelineStatus(
        self, request: pb.GetPipelineStatusRequest, context: grpc.ServicerContext
    ) -> pb.GetPipelineStatusResponse:
        """Tell how far settlement is behind."""
        organization_id = caller().organization_id
        status = self._operations.status(organization_id)
        return pb.GetPipelineStatusResponse(
            queued_batch_count=status.queued_batch_count,
            oldest_age_ms=status.oldest_age_us // 1000,
            dead_letter_count=status.dead_letter_count,
            unrated_count=self._count_unrated(organization_id),
        )

    def ListDeadLetters(
        self, request: pb.ListDeadLettersRequest, context: grpc.ServicerContext
    ) -> pb.ListDeadLettersResponse:
        """List what could not be settled."""
        letters, next_token = self._operations.list_dead_letters(
            caller().organization_id, convert.page_from_proto(request)
        )
        return pb.ListDeadLettersResponse(
            dead_letters=[dead_letter_to_proto(letter) for letter in letters], next_page_token=next_token
        )

    def GetEventStatus(
        self, request: pb.GetEventStatusRequest, context: grpc.ServicerContext
    ) -> pb.GetEventStatusResponse:
        """Tell where an event stands."""
        standing = self._operations.standing(
            caller().organization_id,
            source=request.source or SOURCE_API,
            event_id=request.event_id,
            settled=self._settled,
        )
        return standing_to_proto(standing)

    def ReplayDeadLetters(
        self, request: pb.ReplayDeadLettersRequest, context: grpc.ServicerContext
    ) -> pb.ReplayDeadLettersResponse:
        """Settle dead letters, or drop them."""
        who = caller()
        act = self._letters.discard if request.discard else self._letters.replay
        results = act(who.organization_id, request.dead_letter_ids, actor=who.member_id or who.key_id)
        done = sum(result.state in (LetterState.SETTLED, LetterState.DISCARDED) for result in results)
        return pb.ReplayDeadLettersResponse(
            replayed_count=done, results=[replay_to_proto(result) for result in results]
        )


def _edge_report(
    message: event_pb2.UsageEvent, edge: pb.EdgeSource, owner: KeyOwner, *, now: int
) -> Reported:
    event = convert.event_from_proto(
        message,
        convert.Origin(
            organization_id=owner.organization_id,
            team_id=owner.team_id,
            key_id=message.key_id,
            receive_time=now,
            source=SOURCE_PROXY,
            edge=_position(message, edge),
        ),
    )
    return Reported(event, time_supplied=message.HasField("occur_time"))


def _unread(message: event_pb2.UsageEvent, edge: pb.EdgeSource) -> Unread:
    """Keep the event as it was sent, and what its leases have to count."""
    funding = (Funding(part.lease_id, part.bound_nanos, part.retained_nanos) for part in message.funding)
    return Unread(
        message.SerializeToString(),
        edge.edge_id,
        message.wallet_id,
        tuple(funding),
        edge.edge_epoch,
        message.sequence,
    )


def _position(message: event_pb2.UsageEvent, edge: pb.EdgeSource) -> EdgePosition:
    return EdgePosition(edge.edge_id, edge.edge_epoch, message.sequence)
