"""Handlers of IngestionService without a server and without the wrapper around every call."""

from typing import cast

import grpc
import grpc_testing
import pytest

from om.ingestion.v1 import ingestion_service_pb2 as pb
from om.type.v1 import event_pb2
from om_server.core.errors import InvalidArgument
from om_server.ingestion.servicer import IngestionServicer
from om_server.rpc.caller import Caller, Principal, acting_as
from tests.rpc import made
from tests.server.ingestion.harness import ORGANIZATION, SECOND, START, Intake

#: A line without usage consumed something, and nobody knows what.
EVENT = event_pb2.UsageEvent(event_id="e1", lines=[event_pb2.UsageLine(provider="openai", model="gpt-4o")])


@pytest.fixture(name="servicer")
def make_servicer(intake: Intake) -> IngestionServicer:
    return made(
        IngestionServicer,
        intake.operations,
        key_owners=lambda _key_ids: {},
        count_unrated=lambda _organization_id: 0,
        settled=lambda _organization_id, **_: None,
        letters=None,
        clock=intake.clock,
    )


def test_a_handler_answers_without_server_and_wrapper(servicer: IngestionServicer) -> None:
    """The test server runs a handler on a thread of its own, where this puts the caller."""
    [service] = pb.DESCRIPTOR.services_by_name.values()
    who = Caller(Principal.KEY, organization_id=ORGANIZATION, team_id="team_a", key_id="key_a")

    class _Called:
        def IngestEvents(  # noqa: N802 - named as its RPC
            self, request: pb.IngestEventsRequest, context: grpc.ServicerContext
        ) -> pb.IngestEventsResponse:
            with acting_as(who):
                return servicer.IngestEvents(request, context)

    server = grpc_testing.server_from_dictionary(
        {service: _Called()}, grpc_testing.strict_fake_time(START // SECOND)
    )
    method = service.methods_by_name["IngestEvents"]

    rpc = server.invoke_unary_unary(method, (), pb.IngestEventsRequest(events=[EVENT]), None)
    answer, _, code, _ = rpc.termination()

    assert code is grpc.StatusCode.OK
    assert [one.state for one in answer.results] == [pb.INGEST_STATE_ACCEPTED]


def test_a_handler_leaves_the_context_alone_and_raises_what_is_wrong(servicer: IngestionServicer) -> None:
    """The wrapper alone speaks to grpc."""
    context = cast("grpc.ServicerContext", None)

    with acting_as(Caller(Principal.SERVICE)), pytest.raises(InvalidArgument):
        servicer.IngestEvents(pb.IngestEventsRequest(events=[EVENT]), context)
