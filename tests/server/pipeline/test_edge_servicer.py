"""EdgeService over a real socket, where only the service credential opens it; unary success without one."""

from collections.abc import Iterator
from typing import cast

import grpc
import grpc_testing
import pytest
from google.protobuf import duration_pb2

from om.edge.v1 import edge_service_pb2 as pb
from om.edge.v1 import edge_service_pb2_grpc
from om.type.v1 import error_reason_pb2, event_pb2
from om_server.pipeline.edge_servicer import EdgeServicer
from om_server.rpc.convert import timestamp_to_proto
from om_server.wallet.operations import WalletChange
from om_server.wallet.wallet import Owner, OwnerKind, WalletMode
from tests.rpc import Keyring, bearer, failing, key_caller, made, serving
from tests.server.pipeline.harness import (
    CREDIT,
    EDGE,
    INPUT_CHARGE,
    OUTPUT_CHARGE,
    SECOND,
    START,
    Tenant,
    World,
)

Stub = edge_service_pb2_grpc.EdgeServiceStub

GRANTED = 1_000 * CREDIT
SERVICE = bearer()
IDENTITY = pb.EdgeIdentity(edge_id=EDGE.edge_id, edge_epoch=EDGE.edge_epoch, instance=EDGE.instance)


@pytest.fixture(name="servicer")
def make_servicer(world: World) -> EdgeServicer:
    return made(
        EdgeServicer,
        world.admission,
        world.wallet,
        feed=world.poller,
        incarnation="inc_test",
        clock=world.clock,
    )


@pytest.fixture(name="stub")
def serve(servicer: EdgeServicer) -> Iterator[Stub]:
    with serving([servicer], Keyring({"om_live_admin": key_caller()})) as channel:
        yield Stub(channel)


def close(
    stub: Stub, lease_id: str, final_count: int, keep: int, *, edge: pb.EdgeIdentity = IDENTITY
) -> pb.CloseLeaseResponse:
    report = pb.LeaseReport(lease_id=lease_id, final_count=final_count, keep_nanos=keep)
    return stub.CloseLease(pb.CloseLeaseRequest(edge=edge, report=report), metadata=SERVICE)


def resync(
    stub: Stub, *reports: pb.LeaseReport, edge_epoch: int = 1, instance: str = EDGE.instance
) -> pb.ResyncResponse:
    edge = pb.EdgeIdentity(edge_id=EDGE.edge_id, edge_epoch=edge_epoch, instance=instance)
    request = pb.ResyncRequest(edge=edge, boot_id="boot", clean=True, leases=reports)
    return stub.Resync(request, metadata=SERVICE)


def question(tenant: Tenant, **changes: object) -> pb.AdmitRequest:
    request = pb.AdmitRequest(
        edge=IDENTITY,
        idempotency_key="evt_1",
        key_id=tenant.key_id,
        attribution=event_pb2.Attribution(user_id="ada"),
        provider="openai",
        model="gpt-4o",
        bound=[pb.UnitBound(unit="input_tokens", amount=400)],
        bound_nanos=CREDIT,
        min_nanos=CREDIT,
        want_nanos=CREDIT,
        max_intents=1,
        priced=True,
    )
    request.MergeFrom(pb.AdmitRequest(**changes))  # type: ignore[arg-type] # A table's row.
    return request


def test_a_granted_call_has_a_lease_and_the_decision_that_its_event_names(
    stub: Stub, world: World, tenant: Tenant
) -> None:
    resync(stub)

    answer = stub.Admit(question(tenant), metadata=SERVICE)

    wallet = world.wallet.get_wallet(tenant.organization_id)
    lease_id = answer.lease.lease_id
    assert lease_id.startswith("lse_")
    assert answer == pb.AdmitResponse(
        allowed=True,
        wallet_id=wallet.wallet_id,
        funding_mode=pb.FUNDING_MODE_STRICT,
        lease=pb.Lease(
            lease_id=lease_id,
            wallet_id=wallet.wallet_id,
            amount_nanos=CREDIT,
            max_intents=1,
            time_to_live=duration_pb2.Duration(seconds=60),
            expire_time=timestamp_to_proto(START + 60 * SECOND),
        ),
        resolution_version=answer.resolution_version,
        incarnation="inc_test",
        organization_id=tenant.organization_id,
        available_nanos=GRANTED - CREDIT,
    )


def test_the_life_of_a_repeated_lease_does_not_start_again(stub: Stub, world: World, tenant: Tenant) -> None:
    resync(stub)
    first = stub.Admit(question(tenant), metadata=SERVICE).lease
    world.clock.now += 1_500_000

    again = stub.Admit(question(tenant), metadata=SERVICE).lease
    world.clock.advance(3_600)
    late = stub.Admit(question(tenant), metadata=SERVICE).lease

    assert (again.lease_id, again.expire_time) == (first.lease_id, first.expire_time)
    assert (again.time_to_live.seconds, again.time_to_live.nanos) == (58, 500_000_000)
    assert (late.time_to_live.seconds, late.time_to_live.nanos) == (0, 0)


def test_a_refusal_is_an_answer_in_numbers(stub: Stub, world: World) -> None:
    tenant = world.tenant(granted=2 * CREDIT)
    resync(stub)
    bound = 400 * INPUT_CHARGE + 1_000 * OUTPUT_CHARGE

    answer = stub.Admit(
        question(
            tenant,
            bound=[pb.UnitBound(unit="output_tokens", amount=1_000)],
            bound_nanos=bound,
            min_nanos=bound,
            want_nanos=bound,
        ),
        metadata=SERVICE,
    )

    assert not answer.allowed
    assert not answer.HasField("lease")
    assert not answer.HasField("available_nanos")
    assert answer.refusal == pb.Refusal(
        reason=error_reason_pb2.ERROR_REASON_INSUFFICIENT_FUNDS,
        message="11 credits are needed and 2 are available",
        needed_nanos=bound,
        available_nanos=2 * CREDIT,
        output_tokens_max=100,
    )


def test_a_refusal_that_is_no_matter_of_money_has_no_numbers(
    stub: Stub, world: World, tenant: Tenant
) -> None:
    resync(stub)
    request = question(tenant, model="a-model-nobody-knows")
    request.priced = False

    refusal = stub.Admit(request, metadata=SERVICE).refusal

    assert refusal.reason == error_reason_pb2.ERROR_REASON_PRICE_UNKNOWN
    assert not refusal.HasField("available_nanos")
    assert not refusal.HasField("output_tokens_max")


def test_where_nobody_pays_there_is_nothing_to_spend(stub: Stub, world: World) -> None:
    tenant = world.tenant()
    resync(stub)

    answer = stub.Admit(question(tenant), metadata=SERVICE)

    assert answer == pb.AdmitResponse(
        allowed=True,
        funding_mode=pb.FUNDING_MODE_NO_WALLET,
        resolution_version=answer.resolution_version,
        incarnation="inc_test",
        organization_id=tenant.organization_id,
    )


def test_a_soft_wallet_is_named_as_one(stub: Stub, world: World, tenant: Tenant) -> None:
    owner = Owner.of(tenant.organization_id, OwnerKind.ORGANIZATION)
    change = WalletChange(mode=WalletMode.SOFT)
    world.wallet.update_wallet(tenant.organization_id, owner, change=change)
    resync(stub)

    assert stub.Admit(question(tenant), metadata=SERVICE).funding_mode == pb.FUNDING_MODE_SOFT


def test_an_edge_that_has_not_resynced_gets_nothing(stub: Stub, tenant: Tenant) -> None:
    with failing() as failures:
        stub.Admit(question(tenant), metadata=SERVICE)

    [failure] = failures
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "EDGE_NOT_RESYNCED")
    assert failure.metadata == {"edge_id": EDGE.edge_id}


def test_what_was_meant_for_another_store_ends_no_lease_and_registers_nobody(
    stub: Stub, tenant: Tenant
) -> None:
    """The edge may leave out what that one knew to be closed, and here it would have paid for nothing."""
    resync(stub)
    lease = stub.Admit(question(tenant), metadata=SERVICE).lease
    edge = pb.EdgeIdentity(edge_id=EDGE.edge_id, edge_epoch=2, instance="the-next-process")
    request = pb.ResyncRequest(edge=edge, boot_id="boot", clean=True, incarnation="inc_before")

    assert stub.Resync(request, metadata=SERVICE) == pb.ResyncResponse(incarnation="inc_test")
    with failing() as failures:
        stub.Admit(question(tenant, edge=edge), metadata=SERVICE)
    assert failures[0].reason == "EDGE_NOT_RESYNCED"

    request.incarnation = "inc_test"
    request.leases.add(lease_id=lease.lease_id, final_count=1, keep_nanos=1)
    (left,) = stub.Resync(request, metadata=SERVICE).open_leases
    assert left.lease_id == lease.lease_id


@pytest.mark.parametrize(("edge_epoch", "instance"), [(1, EDGE.instance), (2, "its-twin")])
def test_an_edge_that_was_replaced_gets_nothing(
    stub: Stub, tenant: Tenant, edge_epoch: int, instance: str
) -> None:
    resync(stub, edge_epoch=2, instance="the-newer-process")
    edge = pb.EdgeIdentity(edge_id=EDGE.edge_id, edge_epoch=edge_epoch, instance=instance)

    for call in (
        lambda: stub.Admit(question(tenant, edge=edge), metadata=SERVICE),
        lambda: resync(stub, edge_epoch=edge_epoch, instance=instance),
    ):
        with failing() as failures:
            call()
        assert (failures[0].code, failures[0].reason) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "EDGE_EPOCH_STALE",
        )
        assert failures[0].metadata == {"edge_id": EDGE.edge_id, "edge_epoch": str(edge_epoch)}


def test_other_content_under_a_key_is_an_error(stub: Stub, tenant: Tenant) -> None:
    resync(stub)
    stub.Admit(question(tenant), metadata=SERVICE)

    with failing() as failures:
        stub.Admit(question(tenant, model="gpt-4o-mini"), metadata=SERVICE)

    assert (failures[0].code, failures[0].reason) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "IDEMPOTENCY_KEY_REUSED",
    )


def test_a_revoked_key_and_an_unknown_one_are_told_apart(stub: Stub, world: World, tenant: Tenant) -> None:
    resync(stub)
    unknown = "key_" + "0" * 26
    world.account.revoke_key(tenant.organization_id, tenant.key_id)

    with failing() as revoked:
        stub.Admit(question(tenant), metadata=SERVICE)
    with failing() as missing:
        stub.Admit(question(tenant, key_id=unknown), metadata=SERVICE)

    assert (revoked[0].reason, revoked[0].metadata) == ("KEY_REVOKED", {"key_id": tenant.key_id})
    assert (missing[0].reason, missing[0].metadata) == ("NOT_FOUND", {"kind": "key", "id": unknown})


def test_a_later_life_learns_what_its_past_left_open(stub: Stub, tenant: Tenant) -> None:
    resync(stub)
    lease = stub.Admit(question(tenant), metadata=SERVICE).lease
    assert list(resync(stub).open_leases) == []

    report = pb.LeaseReport(lease_id=lease.lease_id, final_count=1, keep_nanos=CREDIT)
    answer = resync(stub, report, edge_epoch=2, instance="process-two")

    assert answer == pb.ResyncResponse(open_leases=[lease], incarnation="inc_test")


def test_only_leases_that_this_store_never_had_are_unknown(stub: Stub, world: World, tenant: Tenant) -> None:
    """Neither one of the present epoch nor one that has ended, which were both named once."""
    resync(stub)
    ended = stub.Admit(question(tenant), metadata=SERVICE).lease
    close(stub, ended.lease_id, 0, 0)
    present = stub.Admit(question(tenant, idempotency_key="evt_2"), metadata=SERVICE).lease
    strangers = ["lse_" + "0" * 26, "lse_" + "1" * 26]
    reports = [pb.LeaseReport(lease_id=name) for name in (ended.lease_id, present.lease_id, *strangers)]

    assert list(resync(stub, *reports).unknown_lease_ids) == strangers


def test_closing_a_lease_returns_what_its_events_do_not_keep(
    stub: Stub, world: World, tenant: Tenant
) -> None:
    resync(stub)
    lease = stub.Admit(question(tenant), metadata=SERVICE).lease

    first = close(stub, lease.lease_id, 1, CREDIT // 4)
    again = close(stub, lease.lease_id, 1, CREDIT // 4)
    differing = close(stub, lease.lease_id, 0, 0)

    assert (first.state, first.released_nanos) == (pb.LEASE_STATE_CLOSING, CREDIT * 3 // 4)
    assert first.incarnation == "inc_test"
    assert (again.state, again.released_nanos) == (pb.LEASE_STATE_CLOSING, 0)
    assert (differing.state, differing.released_nanos) == (pb.LEASE_STATE_QUARANTINED, 0)
    assert world.money(tenant) == (GRANTED - CREDIT // 4, CREDIT // 4, 0)


def test_nobody_else_closes_an_edges_lease(stub: Stub, tenant: Tenant) -> None:
    resync(stub)
    lease = stub.Admit(question(tenant), metadata=SERVICE).lease
    other = pb.EdgeIdentity(edge_id="edg_" + "1" * 26, edge_epoch=1, instance=EDGE.instance)
    stub.Resync(pb.ResyncRequest(edge=other, clean=True), metadata=SERVICE)

    for edge, lease_id, reason in (
        (other, lease.lease_id, "NOT_FOUND"),
        (IDENTITY, "lse_" + "0" * 26, "NOT_FOUND"),
        (
            pb.EdgeIdentity(edge_id=EDGE.edge_id, edge_epoch=1, instance="its-twin"),
            lease.lease_id,
            "EDGE_EPOCH_STALE",
        ),
    ):
        with failing() as failures:
            close(stub, lease_id, 0, 0, edge=edge)
        assert failures[0].reason == reason


def test_a_lease_that_this_store_never_had_is_named(stub: Stub) -> None:
    stranger = "lse_" + "0" * 26
    reports = [pb.LeaseReport(lease_id=stranger, final_count=1, keep_nanos=5)]

    answer = stub.Resync(pb.ResyncRequest(edge=IDENTITY, leases=reports), metadata=SERVICE)

    assert list(answer.unknown_lease_ids) == [stranger]


def test_a_rate_card_has_the_dearest_rates_and_the_models_without_any(stub: Stub, tenant: Tenant) -> None:
    request = pb.GetRateCardRequest(
        key_id=tenant.key_id, provider="OpenAI", models=["gpt-4o", "a-model-nobody-knows"]
    )

    card = stub.GetRateCard(request, metadata=SERVICE)

    known, unknown = card.models
    rates = {rate.unit: rate.nanos_per_million for rate in known.rates}
    assert (known.provider, known.model, known.priced) == ("openai", "gpt-4o", True)
    assert rates["input_tokens"] == INPUT_CHARGE * 1_000_000
    assert rates["output_tokens"] == OUTPUT_CHARGE * 1_000_000
    assert list(rates) == sorted(rates)
    assert (known.context_window, known.output_tokens_max) == (128_000, 16_384)
    assert unknown == pb.ModelRate(provider="openai", model="a-model-nobody-knows")
    assert (card.time_to_live.seconds, card.incarnation) == (60, "inc_test")
    assert card.version


@pytest.mark.parametrize(
    ("name", "request_message"),
    [
        ("Resync", pb.ResyncRequest(edge=IDENTITY)),
        ("Admit", pb.AdmitRequest(edge=IDENTITY)),
        ("GetRateCard", pb.GetRateCardRequest()),
        ("CloseLease", pb.CloseLeaseRequest(edge=IDENTITY)),
    ],
)
def test_no_key_opens_the_service_of_edges_whatever_its_scopes(
    stub: Stub, name: str, request_message: object
) -> None:
    for metadata, reason in (
        (bearer("om_live_admin"), "ACCESS_DENIED"),
        (bearer("a-wrong-token"), "CREDENTIAL_INVALID"),
        ((), "CREDENTIAL_MISSING"),
    ):
        with failing() as failures:
            getattr(stub, name)(request_message, metadata=metadata)
        assert failures[0].reason == reason


def test_a_handler_answers_without_server_and_wrapper(
    servicer: EdgeServicer, world: World, tenant: Tenant
) -> None:
    world.resync()
    [service] = pb.DESCRIPTOR.services_by_name.values()
    server = grpc_testing.server_from_dictionary(
        {service: servicer}, grpc_testing.strict_fake_time(START // SECOND)
    )

    rpc = server.invoke_unary_unary(service.methods_by_name["Admit"], (), question(tenant), None)
    answer, _, code, _ = rpc.termination()

    assert code is grpc.StatusCode.OK
    assert cast("pb.AdmitResponse", answer).allowed
