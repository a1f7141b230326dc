"""What is told of settled events, which may never fail what was committed."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from structlog.testing import capture_logs

from om_server.analytics.settled import SettledEvent
from om_server.pipeline.settle import Settler
from om_server.pipeline.settlement_notice import SettlementNotice
from om_server.rpc.tracing import Untraced
from tests.server.pipeline.harness import START, Tenant, World

_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Tracer:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, int, Mapping[str, str]]] = []

    @contextlib.contextmanager
    def span(self, name: str, trace_parent: str, *, attributes: Mapping[str, str]) -> Iterator[str]:
        yield ""

    def since(self, name: str, trace_parent: str, *, start_us: int, attributes: Mapping[str, str]) -> None:
        self.told.append((name, trace_parent, start_us, attributes))


def _nothing(_events: Sequence[SettledEvent]) -> None:
    """Count nothing."""


def test_a_settled_event_goes_on_with_its_own_trace(world: World, tenant: Tenant) -> None:
    tracer = Tracer()
    events = [world.event(tenant, trace_parent=_TRACE), world.event(tenant, "e2")]
    settler = Settler(world.database, world.slices, world.clock, settled=SettlementNotice(_nothing, tracer))

    with capture_logs() as logs:
        settler.settle(events)

    attributes = {
        "om.event_id": "e1",
        "om.organization_id": tenant.organization_id,
        "om.state": "RATED",
    }
    assert tracer.told == [("settle", _TRACE, START, attributes)]
    settled = [line for line in logs if line["event"] == "event_settled"]
    assert [(line["event_id"], line["log_level"]) for line in settled] == [("e1", "debug"), ("e2", "debug")]


def test_the_same_event_in_another_trace_is_the_same_event(world: World, tenant: Tenant) -> None:
    world.settler.settle([world.event(tenant)])

    with capture_logs() as logs:
        assert world.settler.settle([world.event(tenant, trace_parent=_TRACE)]) == 0

    assert logs == []


def test_a_watcher_that_fails_costs_no_settlement(world: World, tenant: Tenant) -> None:
    def fail(_events: Sequence[SettledEvent]) -> None:
        raise LookupError("secret")

    notice = SettlementNotice(fail, Untraced())
    event = world.event(tenant)
    with capture_logs() as logs:
        assert Settler(world.database, world.slices, world.clock, settled=notice).settle([event]) == 1

    assert world.settled(event).event.event_id == "e1"
    assert [line["event"] for line in logs] == ["settlement_not_told"]
    assert "secret" not in repr(logs)
