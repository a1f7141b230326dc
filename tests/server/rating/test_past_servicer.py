"""RerateEvents and SimulateBurnTable over a real socket and a real database."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from om.rating.v1 import rating_service_pb2 as pb
from om.rating.v1 import rating_service_pb2_grpc
from om.type.v1 import money_pb2
from om_server.pipeline import past_events
from om_server.rating.servicer import RatingServicer
from om_server.rpc.caller import Scope
from tests.rpc import Keyring, bearer, failing, key_caller, made, serving
from tests.server.pipeline.harness import CREDIT, SECOND, World
from tests.server.pipeline.past_scene import CHARGE, DAY, HALF, Past
from tests.server.rating.desk import Desk, used

if TYPE_CHECKING:
    from collections.abc import Iterator

    from om_server.storage.database import Database

ADMIN, READER = bearer("admin"), bearer("reader")
HALF_RULE = pb.BurnRule(credits_per_cost="500")


@dataclass
class Wire:
    """A stub and what stands behind it."""

    stub: rating_service_pb2_grpc.RatingServiceStub
    past: Past

    def rerate(self, **changes: object) -> pb.RerateEventsRequest:
        fields = {"start_time": self.start, "end_time": self.end, "idempotency_key": "k", **changes}
        return pb.RerateEventsRequest(**fields)  # type: ignore[arg-type] # A table's row.

    def simulate(self, *rules: pb.BurnRule, **changes: object) -> pb.SimulateBurnTableRequest:
        table = pb.BurnTable(display_name="proposed", rules=rules)
        fields = {"start_time": self.start, "end_time": self.end, "burn_table": table, **changes}
        return pb.SimulateBurnTableRequest(**fields)  # type: ignore[arg-type] # A table's row.

    @property
    def start(self) -> Timestamp:
        return at(self.past.world.clock.now - DAY)

    @property
    def end(self) -> Timestamp:
        return at(self.past.world.clock.now + DAY)


@pytest.fixture
def wire(database: Database) -> Iterator[Wire]:
    desk = Desk(database)
    world = World(database, desk.rating)
    past = Past(world, desk, world.tenant(granted=10**16))
    keyring = Keyring(
        {
            "admin": key_caller(organization_id=past.org),
            "reader": key_caller(Scope.READ, organization_id=past.org),
        }
    )
    servicer = made(
        RatingServicer,
        desk.rating,
        burn_tables=desk.tables,
        prices=desk.prices,
        explanations=past.explanations,
        past=past.rater,
    )
    with serving([servicer], keyring) as channel:
        yield Wire(rating_service_pb2_grpc.RatingServiceStub(channel), past)


def at(micros: int) -> Timestamp:
    return Timestamp(seconds=micros // SECOND, nanos=micros % SECOND * 1000)


def credit(nanos: int) -> money_pb2.Money:
    return money_pb2.Money(currency_code="CREDITS", amount_nanos=nanos)


def test_a_dry_run_then_the_same_applied_then_explained(wire: Wire) -> None:
    [event] = wire.past.settle()
    table_id = wire.past.table(HALF)
    expected = pb.RerateEventsResponse(
        event_count=1,
        changed_count=1,
        charge_difference=credit(-CHARGE // 2),
        cost_difference=money_pb2.Money(currency_code="USD"),
        differences=[
            pb.ChargeDifference(
                event_id=event.event_id,
                charge_before=credit(CHARGE),
                charge_after=credit(CHARGE // 2),
                source="api",
            )
        ],
    )

    told = wire.stub.RerateEvents(wire.rerate(burn_table_id=table_id, dry_run=True), metadata=ADMIN)
    assert told == expected
    assert wire.past.charge(event) == CHARGE
    done = wire.stub.RerateEvents(wire.rerate(burn_table_id=table_id), metadata=ADMIN, timeout=60)

    expected.wallet_difference.CopyFrom(credit(-CHARGE // 2))
    assert done == expected
    assert wire.stub.RerateEvents(wire.rerate(burn_table_id=table_id), metadata=ADMIN) == done
    explained = wire.stub.ExplainCharge(pb.ExplainChargeRequest(event_id=event.event_id), metadata=READER)
    assert (explained.exact, explained.settled_charge) == (True, credit(CHARGE // 2))
    assert explained.rating.burn_table_version == table_id


def test_a_simulation_streams_states_and_ends_with_the_result(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_events, "_PAGE", 2)
    wire.past.settle(3)

    states = list(wire.stub.SimulateBurnTable(wire.simulate(HALF_RULE), metadata=ADMIN))

    assert [(state.event_count, state.changed_count) for state in states] == [(2, 2), (3, 3)]
    assert (states[-1].charge_before, states[-1].charge_after) == (
        credit(3 * CHARGE),
        credit(3 * CHARGE // 2),
    )
    assert len(states[-1].differences) == 3


def test_a_simulation_shows_tiers_as_a_preview_does(wire: Wire) -> None:
    wire.past.settle(lines=(used(input_tokens=3_000_000),))
    rule = pb.BurnRule(
        rates=[
            pb.PriceRate(unit="input_tokens", amount_per_million="10"),
            pb.PriceRate(unit="input_tokens", amount_per_million="4", quantity_threshold=1_000_000),
        ]
    )

    *_, result = wire.stub.SimulateBurnTable(wire.simulate(rule), metadata=ADMIN)

    assert result.charge_after == credit(18 * CREDIT)


def test_a_caller_that_leaves_ends_the_simulation_after_its_page(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread is inside the second page when the caller cancels: there is no third."""
    monkeypatch.setattr(past_events, "_PAGE", 1)
    wire.past.settle(5)
    inside, let_go, pages = threading.Event(), threading.Event(), []
    page_rated = wire.past.world.analytics.page_rated

    def slow(*arguments: object, **named: object) -> object:
        pages.append(threading.current_thread().name)
        if len(pages) == 2:
            inside.set()
            assert let_go.wait(20)
        return page_rated(*arguments, **named)  # type: ignore[arg-type] # Passed on.

    monkeypatch.setattr(wire.past.world.analytics, "page_rated", slow)
    call = wire.stub.SimulateBurnTable(wire.simulate(HALF_RULE), metadata=ADMIN)
    assert next(iter(call)).event_count == 1
    assert inside.wait(20)
    # The server answers others meanwhile: nothing of this runs on its event loop.
    wire.stub.GetBurnTable(pb.GetBurnTableRequest(burn_table_id="default"), metadata=READER, timeout=20)
    call.cancel()
    # Its answer comes after the cancellation has reached the server, over the same connection.
    wire.stub.GetBurnTable(pb.GetBurnTableRequest(burn_table_id="default"), metadata=READER, timeout=20)
    let_go.set()
    with pytest.raises(grpc.RpcError) as raised:
        list(call)

    assert raised.value.code() is grpc.StatusCode.CANCELLED
    wire.stub.GetBurnTable(pb.GetBurnTableRequest(burn_table_id="default"), metadata=READER, timeout=20)
    assert [name.startswith("rpc") for name in pages] == [True, True]


@pytest.mark.parametrize("rpc", ["RerateEvents", "SimulateBurnTable"])
def test_reading_is_not_enough(wire: Wire, rpc: str) -> None:
    with failing() as failures:
        if rpc == "RerateEvents":
            wire.stub.RerateEvents(wire.rerate(), metadata=READER)
        else:
            list(wire.stub.SimulateBurnTable(wire.simulate(HALF_RULE), metadata=READER))

    assert failures[0].reason == "SCOPE_MISSING"


def test_a_range_that_ends_before_it_begins_is_refused(wire: Wire) -> None:
    with failing() as failures:
        wire.stub.RerateEvents(wire.rerate(end_time=wire.start), metadata=ADMIN)
    assert (failures[0].reason, failures[0].metadata) == ("INVALID_ARGUMENT", {"field": "end_time"})


def test_a_flaw_of_a_proposed_table_is_named(wire: Wire) -> None:
    with failing() as failures:
        list(wire.stub.SimulateBurnTable(wire.simulate(pb.BurnRule()), metadata=ADMIN))
    assert (failures[0].reason, list(failures[0].violations)) == ("PRICE_INVALID", ["burn_table.rules[0]"])


def test_a_table_that_is_not_there_is_not_found(wire: Wire) -> None:
    for dry_run in (True, False):
        with failing() as failures:
            wire.stub.RerateEvents(wire.rerate(burn_table_id="brn_x", dry_run=dry_run), metadata=ADMIN)
        assert failures[0].code is grpc.StatusCode.NOT_FOUND


def test_a_call_whose_deadline_is_over_is_resumed_by_a_repeat(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_events, "_BATCH", 1)
    wire.past.settle(3)
    request = wire.rerate(burn_table_id=wire.past.table(HALF))
    gone = threading.Event()
    revise = wire.past.world.analytics.revise

    def slow(*arguments: object) -> None:
        assert gone.wait(20)
        revise(*arguments)  # type: ignore[arg-type] # Passed on.

    monkeypatch.setattr(wire.past.world.analytics, "revise", slow)
    with pytest.raises(grpc.RpcError) as raised:
        wire.stub.RerateEvents(request, metadata=ADMIN, timeout=0.3)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    gone.set()

    done = wire.stub.RerateEvents(request, metadata=ADMIN, timeout=60)

    assert (done.event_count, done.wallet_difference) == (3, credit(-3 * CHARGE // 2))
    assert wire.past.verified()
