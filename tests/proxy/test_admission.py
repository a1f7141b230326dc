"""What was admitted for a call that is never made is given back, also where the answer was lost."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.type.v1 import error_reason_pb2, event_pb2
from om_proxy import problem
from om_proxy.admission import Admissions
from om_proxy.authorize import Authorizer, Key
from om_proxy.dialects.openmonetize import Attribution
from om_proxy.identity import new_edge
from om_proxy.outcome import Intent, zero
from om_proxy.refusal import Problem
from om_proxy.report import Reporter
from om_proxy.server_client import ServerClient
from tests.proxy.edge import CHAT, HEADERS, answers, edge
from tests.proxy.exchange import CHAT_PATH, call_of
from tests.proxy.fake_servicer import (
    AWAY,
    KEY_ID,
    LEASE_ID,
    LEASE_NANOS,
    SERVICE_TOKEN,
    Failure,
    FakeServer,
    fake_server,
)
from tests.proxy.intents import WHO, intent_for
from tests.proxy.raw_http import request_bytes

KNOWN = Key(KEY_ID, "org_test", test_mode=False)
CALL = call_of(CHAT_PATH, CHAT)
LOST = Failure(grpc.StatusCode.DEADLINE_EXCEEDED)


class Scene:
    """Admissions in front of a server of the test's; reports are shipped to it at once."""

    def __init__(self, server: FakeServer, client: ServerClient) -> None:
        identity = new_edge()
        self.server = server
        self.reporter = Reporter(client, identity, queue_max=1, retry_delay_s=0.001)
        self.admissions = Admissions(Authorizer(client, identity), self.reporter, retry_delay_s=0.001)

    async def admit(self, who: Attribution = WHO, event_id: str = "evt_1") -> Intent | Problem:
        return await self.admissions.admit(event_id, KNOWN, call=CALL, who=who)


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    async with fake_server() as server:
        client = ServerClient(server.address, SERVICE_TOKEN)
        made = Scene(server, client)
        yield made
        await made.admissions.close()
        await made.reporter.stop(0)
        await client.close()


async def test_an_admitted_call_names_its_lease(scene: Scene) -> None:
    intent = await scene.admit()

    assert isinstance(intent, Intent)
    assert (intent.event_id, intent.key, intent.call) == ("evt_1", KNOWN, CALL)
    assert (intent.admission.lease_id, intent.admission.bound_nanos) == (LEASE_ID, LEASE_NANOS)


async def test_a_refused_call_is_not_asked_about_again(scene: Scene) -> None:
    scene.server.refusal = edge_pb.Refusal(reason=error_reason_pb2.ERROR_REASON_WALLET_BLOCKED)

    assert await scene.admit() == problem.wallet_blocked()
    assert scene.server.asked.count("Admit") == 1


async def test_a_full_queue_of_reports_refuses_before_anything_is_asked(scene: Scene) -> None:
    scene.reporter.report(zero(intent_for(CALL)))

    assert await scene.admit() == problem.unavailable()
    assert scene.server.asked == []


@pytest.mark.parametrize("tries", [1, 3])
async def test_a_lost_answer_is_asked_for_again_under_its_key_and_what_it_granted_is_a_zero(
    scene: Scene, tries: int
) -> None:
    scene.server.failures["Admit"] = [LOST] * tries
    scene.reporter.start()

    assert await scene.admit() == problem.unavailable()
    (event,) = await scene.server.reported()

    assert {request.idempotency_key for request in scene.server.admit_requests} == {"evt_1"}
    assert len({request.SerializeToString() for request in scene.server.admit_requests}) == 1
    assert len(scene.server.admit_requests) == tries + 1
    assert (event.event_id, event.outcome) == ("evt_1", event_pb2.OUTCOME_ZERO)
    assert [(item.lease_id, item.retained_nanos) for item in event.funding] == [(LEASE_ID, 0)]


async def test_a_lost_refusal_needs_no_outcome(scene: Scene) -> None:
    scene.server.failures["Admit"] = [LOST]
    scene.server.refusal = edge_pb.Refusal(reason=error_reason_pb2.ERROR_REASON_WALLET_BLOCKED)

    await scene.admit()
    (task,) = scene.admissions._unanswered
    await task

    assert len(scene.server.admit_requests) == 2
    assert not scene.reporter.full


async def test_more_lost_answers_than_can_be_asked_for_are_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("om_proxy.admission._UNANSWERED_MAX", 1)
    scene.server.failures["Admit"] = [AWAY] * 1_000
    with capture_logs() as logs:
        await scene.admit(event_id="evt_1")
        await scene.admit(event_id="evt_2")
        await scene.admissions.close()

    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert [(entry["event"], entry.get("event_id"), entry.get("count")) for entry in errors] == [
        ("admission_unanswered", "evt_2", None),
        ("admissions_unanswered", None, 1),
    ]


async def test_a_caller_who_leaves_while_the_server_decides_gives_back_what_it_decides() -> None:
    async with edge(answers) as proxy:
        proxy.server.admits.clear()
        async with proxy.caller() as caller:
            await caller.send(request_bytes(CHAT, *HEADERS))
            await proxy.server.until(lambda: bool(proxy.server.admit_requests))
        await proxy.server.until(lambda: len(proxy.server.admit_requests) == 2)
        proxy.server.admits.set()
        (event,) = await proxy.server.reported()

    assert event.outcome == event_pb2.OUTCOME_ZERO
    assert event.event_id == proxy.server.admit_requests[0].idempotency_key
    assert [item.lease_id for item in event.funding] == [LEASE_ID]
    assert proxy.provider.exchanges == []


async def test_a_full_queue_is_a_503_before_the_call() -> None:
    async with edge(answers, OM_REPORT_QUEUE_MAX=1) as proxy:
        proxy.server.failures["IngestEvents"] = [AWAY]
        first = await proxy.ask()
        await proxy.server.until(lambda: "IngestEvents" in proxy.server.asked)
        second = await proxy.ask()

    assert (first.status, second.status) == (200, 503)
    assert (second.named("retry-after"), second.named("x-should-retry")) == (["1"], [])
    assert len(proxy.provider.exchanges) == 1
    assert len(proxy.server.admit_requests) == 1
