"""K17: a worker dies between a dead letter and its acknowledgement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from om.ingestion.v1 import ingestion_service_pb2 as pb
from om.ingestion.v1 import ingestion_service_pb2_grpc
from tests.faults.failpoint import POISON, Fault
from tests.faults.patience import awaited
from tests.faults.scene import KINDS, crashed

if TYPE_CHECKING:
    from tests.faults.scene import MakeSite, MakeTraffic
    from tests.faults.site import Site
    from tests.faults.traffic import Traffic


@pytest.mark.parametrize("kind", KINDS)
def test_a_letter_is_written_once_and_its_event_is_charged_once_when_it_is_replayed(
    make_site: MakeSite, make_traffic: MakeTraffic, kind: str, seed: int
) -> None:
    site = make_site(kind)
    site.start(victim=site.settler, fault=Fault("letter written", nth=1 + seed % 2), modes=["poison"])
    traffic = make_traffic(site, seed, lose_every=0)
    if kind == "redis":
        # Who has the fault is who meets the letters.
        site.kill("b")
    poisoned = send_poison(traffic)
    crashed(site, traffic, site.settler)

    site.start(modes=["poison"])
    awaited(lambda: traffic.attempt(traffic.edges[0].ship) and not traffic.edges[0].unsettled)
    awaited(lambda: traffic.attempt(traffic.applications[0].send) and letters(site) >= poisoned)
    assert letters(site) == poisoned
    assert not traffic.oracle.settled() & poisoned
    assert site.value("SELECT COUNT(*) FROM dead_letters") == len(poisoned)

    site.stop()
    site.start()
    traffic.finish()
    replay_all(traffic)
    traffic.check()


def send_poison(traffic: Traffic) -> set[tuple[str, str, str]]:
    """Let an edge and an application report what cannot be settled, beside what can."""
    before = traffic.oracle.identities
    edge, application = traffic.edges[0], traffic.applications[0]
    for prefix in (POISON, "", POISON):
        edge.prefix = prefix
        edge.call(traffic.site.tenants[0], "")
        application.use(1, prefix=prefix)
    edge.prefix = ""
    traffic.attempt(edge.ship)
    traffic.attempt(application.send)
    return {one for one in traffic.oracle.identities - before if one[2].startswith(POISON)}


def letters(site: Site) -> set[tuple[str, str, str]]:
    rows = site.rows("SELECT organization_id, source, event_id FROM dead_letters")
    return {(row[0], row[1], row[2]) for row in rows}


def replay_all(traffic: Traffic) -> None:
    stub = ingestion_service_pb2_grpc.IngestionServiceStub(traffic.site.channel)
    secret = traffic.site.tenants[0].secret
    answer = traffic.wire.call(stub.ReplayDeadLetters, pb.ReplayDeadLettersRequest(), secret=secret)
    assert {result.state for result in answer.results} == {pb.REPLAY_STATE_SETTLED}
