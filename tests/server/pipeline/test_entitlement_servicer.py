"""EntitlementService over a real socket: limits as callers write and read them, and the check."""

import dataclasses
from collections.abc import Iterator

import grpc
import pytest

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.edge.v1 import edge_service_pb2_grpc
from om.type.v1 import error_reason_pb2, event_pb2, money_pb2, usage_pb2
from om.wallet.v1 import entitlement_service_pb2 as pb
from om.wallet.v1 import entitlement_service_pb2_grpc
from om_server.account.keys.key import KeyWish
from om_server.core.event import Attribution
from om_server.core.page import PageRequest
from om_server.pipeline.edge_servicer import EdgeServicer
from om_server.pipeline.entitlement import EntitlementCheck
from om_server.pipeline.entitlement_servicer import EntitlementServicer
from om_server.rpc.caller import Caller, Principal, Scope
from om_server.rpc.convert import timestamp_to_proto
from om_server.wallet.funding import Deduction
from tests.rpc import Keyring, bearer, failing, serving
from tests.server.pipeline.harness import (
    CREDIT,
    INPUT_CHARGE,
    INPUT_COST,
    SECOND,
    START,
    Tenant,
    World,
    rows_of,
    tokens,
)

Stub = entitlement_service_pb2_grpc.EntitlementServiceStub

ADMIN, READER, MEMBER, STRANGER = bearer("admin"), bearer("reader"), bearer("member"), bearer("stranger")
CHAT = event_pb2.Attribution(feature_id="chat", user_id="ada")
ADA = Attribution(feature_id="chat", user_id="ada")
#: The contract's names, some of which are too long to repeat.
LIMIT_REACHED = error_reason_pb2.ERROR_REASON_LIMIT_REACHED
NO_REASON = error_reason_pb2.ERROR_REASON_UNSPECIFIED


@pytest.fixture(name="channel")
def serve(world: World, tenant: Tenant) -> Iterator[grpc.Channel]:
    key = Caller(
        Principal.KEY, tenant.organization_id, tenant.team_id, tenant.key_id, frozenset({Scope.ADMIN})
    )
    keyring = Keyring(
        {
            "admin": key,
            "reader": dataclasses.replace(key, scopes=frozenset({Scope.READ})),
            "member": Caller(Principal.MEMBER, tenant.organization_id, member_id="mem_1"),
            "stranger": dataclasses.replace(key, organization_id="org_2"),
        }
    )
    check = EntitlementCheck(world.database, world.admission, rating=world.rating, wallet=world.wallet)
    edges = EdgeServicer(
        world.admission, world.wallet, feed=world.poller, incarnation="inc_test", clock=world.clock
    )
    limits = EntitlementServicer(world.limits, check, require_own=world.account.require_own)
    with serving([limits, edges], keyring) as channel:
        yield channel


@pytest.fixture(name="stub")
def make_stub(channel: grpc.Channel) -> Stub:
    return Stub(channel)


def entitlement(**changes: object) -> pb.Entitlement:
    """Five events of a feature a day."""
    message = pb.Entitlement(
        feature_id="chat",
        type=pb.LIMIT_TYPE_HARD,
        unit="events",
        limit_value=5,
        window=pb.LIMIT_WINDOW_DAY,
        time_zone="Europe/Berlin",
    )
    message.MergeFrom(pb.Entitlement(**changes))  # type: ignore[arg-type] # A table's row.
    return message


def create(stub: Stub, message: pb.Entitlement | None = None, *, key: str = "k1") -> pb.Entitlement:
    request = pb.CreateEntitlementRequest(entitlement=message or entitlement(), idempotency_key=key)
    return stub.CreateEntitlement(request, metadata=ADMIN).entitlement


def update(stub: Stub, entitlement_id: str, message: pb.Entitlement) -> pb.Entitlement:
    request = pb.UpdateEntitlementRequest(entitlement_id=entitlement_id, entitlement=message)
    return stub.UpdateEntitlement(request, metadata=ADMIN).entitlement


def check(
    stub: Stub, *lines: event_pb2.UsageLine, metadata: tuple[tuple[str, str], ...] = READER
) -> pb.CheckEntitlementResponse:
    return stub.CheckEntitlement(pb.CheckEntitlementRequest(attribution=CHAT, lines=lines), metadata=metadata)


def line(amount: int | None = 400, *, model: str = "gpt-4o") -> event_pb2.UsageLine:
    certainty = usage_pb2.CERTAINTY_UNKNOWN if amount is None else usage_pb2.CERTAINTY_ESTIMATED
    quantity = usage_pb2.Quantity(unit="input_tokens", amount=amount, certainty=certainty)
    return event_pb2.UsageLine(provider="openai", model=model, usage=usage_pb2.Usage(quantities=[quantity]))


def spend(world: World, tenant: Tenant, *event_ids: str) -> None:
    """Settle an event of 400 tokens for each id."""
    events = [world.event(tenant, event_id, attribution=ADA, lines=(tokens(400),)) for event_id in event_ids]
    world.settler.settle(events)


def test_a_limit_is_answered_as_it_is_stored_and_from_when_it_holds(world: World, stub: Stub) -> None:
    wanted = entitlement(metadata={"plan": "free"})

    created = create(stub, wanted)

    assert created.entitlement_id.startswith("ent_")
    assert created.effective_time == timestamp_to_proto(START + 60 * SECOND)
    expected = pb.Entitlement()
    expected.CopyFrom(wanted)
    expected.week_start = 1
    expected.entitlement_id = created.entitlement_id
    expected.effective_time.CopyFrom(created.effective_time)
    assert created == expected
    listed = stub.ListEntitlements(pb.ListEntitlementsRequest(), metadata=READER)
    assert list(listed.entitlements) == [created]


def test_what_is_not_said_has_the_contracts_meaning(stub: Stub) -> None:
    created = create(stub, pb.Entitlement(limit_value=7))

    assert (created.type, created.window, created.unit) == (
        pb.LIMIT_TYPE_HARD,
        pb.LIMIT_WINDOW_TOTAL,
        "credits",
    )
    assert create(stub, pb.Entitlement(limit_value=0), key="k2").HasField("limit_value")
    assert not create(stub, pb.Entitlement(), key="k3").HasField("limit_value")


def test_a_repeated_creation_gives_the_first_answer(world: World, stub: Stub) -> None:
    created = create(stub)
    update(stub, created.entitlement_id, entitlement(limit_value=9))
    world.clock.advance(5)

    assert create(stub) == created
    assert len(stub.ListEntitlements(pb.ListEntitlementsRequest(), metadata=READER).entitlements) == 1
    with failing() as failures:
        create(stub, entitlement(limit_value=6))
    assert failures[0].reason == "IDEMPOTENCY_KEY_REUSED"


def test_a_raised_limit_holds_at_once_and_a_lowered_one_after_the_notice(world: World, stub: Stub) -> None:
    created = create(stub)
    world.clock.advance(100)

    raised = update(stub, created.entitlement_id, entitlement(limit_value=9))
    assert raised.effective_time == timestamp_to_proto(world.clock.now)
    lowered = update(stub, created.entitlement_id, entitlement(limit_value=1))
    assert lowered.effective_time == timestamp_to_proto(world.clock.now + 60 * SECOND)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"feature_id": "search"}, "entitlement"),
        ({"each_user": True}, "entitlement"),
        ({"unit": "credits"}, "entitlement.unit"),
    ],
)
def test_what_a_limit_counts_never_changes(stub: Stub, changes: dict[str, object], field: str) -> None:
    created = create(stub)

    with failing() as failures:
        update(stub, created.entitlement_id, entitlement(**changes))

    assert failures[0].metadata["field"] == field


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (pb.Entitlement(unit="tokens"), "UNKNOWN_UNIT"),
        (pb.Entitlement(unit="custom:Not Valid"), "UNKNOWN_UNIT"),
        (pb.Entitlement(limit_value=-1), "INVALID_ARGUMENT"),
        (pb.Entitlement(limit_value=2**62 + 1), "AMOUNT_OUT_OF_RANGE"),
        (pb.Entitlement(window=pb.LIMIT_WINDOW_ROLLING), "INVALID_ARGUMENT"),
        (pb.Entitlement(window=pb.LIMIT_WINDOW_DAY, rolling_hours=3), "INVALID_ARGUMENT"),
        (pb.Entitlement(time_zone="Mars/Olympus"), "INVALID_ARGUMENT"),
        (pb.Entitlement(week_start=8), "INVALID_ARGUMENT"),
        (pb.Entitlement(user_id="ada", each_user=True), "INVALID_ARGUMENT"),
        (pb.Entitlement(tag="x" * 256), "INVALID_ARGUMENT"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_and_nothing_is_written(
    world: World, stub: Stub, message: pb.Entitlement, reason: str
) -> None:
    before = rows_of(world.database)

    with failing() as failures:
        create(stub, message)

    assert failures[0].reason == reason
    assert rows_of(world.database) == before


def test_the_organization_cannot_be_named_as_its_customer(stub: Stub, tenant: Tenant) -> None:
    with failing() as failures:
        create(stub, pb.Entitlement(customer_id=tenant.organization_id))

    assert failures[0].metadata["field"] == "entitlement.customer_id"


@pytest.mark.parametrize("field", ["team_id", "key_id"])
def test_a_limit_on_what_is_another_organization_s_is_refused_like_one_on_nothing(
    world: World, stub: Stub, tenant: Tenant, field: str
) -> None:
    other = world.account.create_organization("Other").organization_id
    (team,) = world.account.list_teams(other, PageRequest.of()).items
    key_id = world.account.create_key(other, KeyWish(team.team_id)).key.key_id
    theirs = {"team_id": team.team_id, "key_id": key_id}[field]

    with failing() as failures:
        create(stub, entitlement(**{field: theirs}))
    with failing() as random:
        create(stub, entitlement(**{field: "nobody"}))

    assert (failures[0].reason, random[0].reason) == ("NOT_FOUND", "NOT_FOUND")
    assert failures[0].metadata == {"kind": field.removesuffix("_id"), "id": theirs}
    ours = {"team_id": tenant.team_id, "key_id": tenant.key_id}[field]
    assert getattr(create(stub, entitlement(**{field: ours})), field) == ours


def test_one_limit_is_got_with_what_is_used_of_it(world: World, tenant: Tenant, stub: Stub) -> None:
    created = create(stub)
    create(stub, key="k2")
    spend(world, tenant, "e1", "e2")
    request = pb.GetEntitlementRequest(entitlement_id=created.entitlement_id)

    found = stub.GetEntitlement(request, metadata=READER).entitlement

    assert (found.entitlement_id, found.used_value) == (created.entitlement_id, 2)
    with failing() as failures:
        stub.GetEntitlement(request, metadata=STRANGER)
    assert failures[0].reason == "NOT_FOUND"


def test_a_deleted_limit_is_gone_and_deleting_it_again_is_not_found(stub: Stub) -> None:
    created = create(stub)
    request = pb.DeleteEntitlementRequest(entitlement_id=created.entitlement_id)

    stub.DeleteEntitlement(request, metadata=ADMIN)

    assert not stub.ListEntitlements(pb.ListEntitlementsRequest(), metadata=READER).entitlements
    for call in (
        lambda: stub.DeleteEntitlement(request, metadata=ADMIN),
        lambda: update(stub, created.entitlement_id, entitlement()),
    ):
        with failing() as failures:
            call()
        assert failures[0].reason == "NOT_FOUND"


def test_another_organizations_limit_answers_like_one_that_does_not_exist(stub: Stub) -> None:
    created = create(stub)
    listed = stub.ListEntitlements(pb.ListEntitlementsRequest(), metadata=STRANGER)
    assert not listed.entitlements

    with failing() as failures:
        stub.DeleteEntitlement(
            pb.DeleteEntitlementRequest(entitlement_id=created.entitlement_id), metadata=STRANGER
        )

    assert failures[0].reason == "NOT_FOUND"


def test_limits_are_listed_oldest_first_in_pages_with_what_is_used(
    world: World, tenant: Tenant, stub: Stub
) -> None:
    ids = [create(stub, key=f"k{number}").entitlement_id for number in range(3)]
    spend(world, tenant, "a", "b")

    first = stub.ListEntitlements(pb.ListEntitlementsRequest(page_size=2), metadata=MEMBER)
    rest = stub.ListEntitlements(
        pb.ListEntitlementsRequest(page_size=2, page_token=first.next_page_token), metadata=MEMBER
    )

    assert [one.entitlement_id for one in (*first.entitlements, *rest.entitlements)] == ids
    assert {one.used_value for one in first.entitlements} == {2}
    assert rest.next_page_token == ""


def test_a_reader_may_not_write_limits(stub: Stub) -> None:
    with failing() as failures:
        stub.CreateEntitlement(
            pb.CreateEntitlementRequest(entitlement=entitlement(), idempotency_key="k"), metadata=READER
        )

    assert failures[0].reason == "SCOPE_MISSING"


def test_a_check_says_what_it_would_cost_and_what_there_is(stub: Stub) -> None:
    answer = check(stub, line())

    assert answer == pb.CheckEntitlementResponse(
        allowed=True,
        estimated_charge=money_pb2.Money(currency_code="CREDITS", amount_nanos=400 * INPUT_CHARGE),
        estimated_cost=money_pb2.Money(currency_code="USD", amount_nanos=400 * INPUT_COST),
        available=money_pb2.Money(currency_code="CREDITS", amount_nanos=1_000 * CREDIT),
    )


def test_a_check_names_the_limit_that_refuses(world: World, tenant: Tenant, stub: Stub) -> None:
    created = create(stub, entitlement(limit_value=2))
    world.clock.advance(60)
    spend(world, tenant, "a", "b")

    answer = check(stub, line(), metadata=MEMBER)

    assert (answer.allowed, answer.reason) == (False, LIMIT_REACHED)
    assert answer.entitlement_id == created.entitlement_id
    assert answer.available.amount_nanos == 1_000 * CREDIT - 2 * 400 * INPUT_CHARGE
    assert created.entitlement_id in answer.message


def test_a_check_without_lines_asks_whether_anything_is_left(
    world: World, tenant: Tenant, stub: Stub
) -> None:
    create(stub, entitlement(limit_value=1))
    world.clock.advance(60)
    assert check(stub).allowed

    spend(world, tenant, "a")

    assert check(stub).reason == LIMIT_REACHED


def test_a_check_warns_of_a_soft_limit(world: World, tenant: Tenant, stub: Stub) -> None:
    created = create(stub, entitlement(type=pb.LIMIT_TYPE_SOFT, limit_value=1))
    assert (check(stub, line()).allowed, check(stub, line()).reason) == (True, NO_REASON)
    spend(world, tenant, "a")

    answer = check(stub, line())

    assert (answer.allowed, answer.reason) == (True, LIMIT_REACHED)
    assert answer.entitlement_id == created.entitlement_id


@pytest.mark.parametrize("lines", [(), (line(),)])
def test_a_check_refuses_where_the_wallet_is_empty(
    world: World, stub: Stub, tenant: Tenant, lines: tuple[event_pb2.UsageLine, ...]
) -> None:
    wallet = world.wallet.get_wallet(tenant.organization_id)
    world.wallet.deduct_credits(tenant.organization_id, Deduction(wallet.owner, wallet.available, "d"))

    answer = check(stub, *lines)

    assert (answer.allowed, answer.reason) == (False, error_reason_pb2.ERROR_REASON_INSUFFICIENT_FUNDS)
    assert answer.available.amount_nanos == 0


def test_what_is_not_known_is_absent_and_not_zero(stub: Stub) -> None:
    for unknown in (line(model="a-model-nobody-knows"), line(None)):
        answer = check(stub, unknown)

        assert (answer.allowed, answer.reason) == (False, error_reason_pb2.ERROR_REASON_PRICE_UNKNOWN)
        assert not answer.HasField("estimated_charge")


def test_a_check_stores_nothing(world: World, tenant: Tenant, stub: Stub) -> None:
    create(stub, entitlement(limit_value=1))
    world.clock.advance(60)
    before = rows_of(world.database)

    for _ in range(3):
        assert check(stub, line()).allowed

    assert rows_of(world.database) == before


def test_an_edge_is_told_of_selectors_and_of_the_limit_that_refuses(
    world: World, tenant: Tenant, stub: Stub, channel: grpc.Channel
) -> None:
    created = create(stub, entitlement(limit_value=0))
    world.clock.advance(60)
    world.resync()
    edge = edge_service_pb2_grpc.EdgeServiceStub(channel)
    identity = edge_pb.EdgeIdentity(edge_id="edg_" + "0" * 26, edge_epoch=1, instance="process-one")

    card = edge.GetRateCard(edge_pb.GetRateCardRequest(key_id=tenant.key_id), metadata=bearer())
    answer = edge.Admit(
        edge_pb.AdmitRequest(
            edge=identity,
            idempotency_key="evt_1",
            key_id=tenant.key_id,
            attribution=CHAT,
            provider="openai",
            model="gpt-4o",
            bound_nanos=CREDIT,
            min_nanos=CREDIT,
            want_nanos=CREDIT,
            max_intents=1,
            priced=True,
        ),
        metadata=bearer(),
    )

    assert list(card.hard_limit_selectors) == [edge_pb.HardLimitSelector(scope="feature", id="chat")]
    assert (answer.refusal.reason, answer.refusal.limit_id) == (LIMIT_REACHED, created.entitlement_id)
    assert (answer.refusal.window, answer.refusal.needed_nanos) == ("day", CREDIT)
    assert not answer.refusal.HasField("available_nanos")
