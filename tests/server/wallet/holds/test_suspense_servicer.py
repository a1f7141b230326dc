"""What owners decide about lost money, over a real socket."""

from collections.abc import Iterator

import pytest

from om.type.v1 import money_pb2
from om.wallet.v1 import wallet_service_pb2 as pb
from om.wallet.v1 import wallet_service_pb2_grpc
from om_server.rpc.caller import Caller, Principal, Scope
from om_server.wallet.funding import Deposit
from om_server.wallet.leases.closing import Past
from om_server.wallet.leases.lease import EdgeIdentity, LeaseRequest
from om_server.wallet.operations import WalletOperations
from om_server.wallet.servicer import WalletServicer
from om_server.wallet.wallet import Owner, OwnerKind
from tests.rpc import Keyring, bearer, failing, key_caller, made, serving

Stub = wallet_service_pb2_grpc.WalletServiceStub

ORG = "org_test"
ADMIN, READER, OWNER = bearer("admin"), bearer("reader"), bearer("owner")


@pytest.fixture(name="stub")
def serve(wallets: WalletOperations) -> Iterator[Stub]:
    keyring = Keyring(
        {
            "admin": key_caller(),
            "reader": key_caller(Scope.READ),
            "owner": Caller(Principal.OWNER, organization_id=ORG, member_id="mem_1"),
        }
    )
    with serving([made(WalletServicer, wallets)], keyring) as channel:
        yield Stub(channel)


def credit(nanos: int, currency: str = "CREDITS") -> money_pb2.Money:
    return money_pb2.Money(currency_code=currency, amount_nanos=nanos)


def lost_lease(wallets: WalletOperations) -> str:
    """A lease of forty whose edge has lost its journal."""
    owner = Owner.of(ORG, OwnerKind.ORGANIZATION)
    wallet_id = wallets.grant_credits(ORG, Deposit(owner, 100, "grant")).wallet.wallet_id
    edge = EdgeIdentity("edg_1", 1, "instance-1")
    wallets.resync(edge, Past("boot"))
    lease = wallets.open_lease(ORG, LeaseRequest(wallet_id, edge, "key", "hash", 40, 40, 0))
    assert lease is not None
    wallets.resync(EdgeIdentity("edg_1", 2, "instance-2"), Past("boot", clean=False))
    return lease.lease_id


def test_an_owner_decides_about_a_lost_lease_and_about_its_money(
    stub: Stub, wallets: WalletOperations
) -> None:
    lease_id = lost_lease(wallets)
    resolve = pb.ResolveLeaseRequest(lease_id=lease_id, reason="the disk is gone")
    lease = stub.ResolveLease(resolve, metadata=OWNER).lease
    assert (lease.state, lease.remaining) == ("resolved", credit(0))
    [suspense] = stub.ListSuspense(pb.ListSuspenseRequest(), metadata=READER).suspense
    assert (suspense.amount, suspense.cause_id, suspense.wallet_id) == (
        credit(40),
        lease_id,
        lease.wallet_id,
    )
    request = pb.ReleaseSuspenseRequest(
        suspense_id=suspense.suspense_id, charge=credit(15), reason="as the provider says"
    )
    wallet = stub.ReleaseSuspense(request, metadata=OWNER).wallet
    assert (wallet.available, wallet.held) == (credit(85), credit(0))
    assert stub.ReleaseSuspense(request, metadata=OWNER).wallet == wallet
    entries = stub.ListEntries(pb.ListEntriesRequest(wallet_id=lease.wallet_id), metadata=READER).entries
    assert {"mem_1: the disk is gone", "mem_1: as the provider says"} <= {one.description for one in entries}
    assert stub.ListSuspense(pb.ListSuspenseRequest(), metadata=READER) == pb.ListSuspenseResponse()
    assert stub.VerifyLedger(pb.VerifyLedgerRequest(), metadata=ADMIN).valid


def test_without_a_charge_all_of_it_returns_and_only_credits_are_charged(
    stub: Stub, wallets: WalletOperations
) -> None:
    lease_id = lost_lease(wallets)
    stub.ResolveLease(pb.ResolveLeaseRequest(lease_id=lease_id, reason="lost"), metadata=OWNER)
    [suspense] = stub.ListSuspense(pb.ListSuspenseRequest(), metadata=READER).suspense
    request = pb.ReleaseSuspenseRequest(suspense_id=suspense.suspense_id, reason="lost")
    for money, reason in ((credit(1, "USD"), "CURRENCY_MISMATCH"), (credit(-1), "AMOUNT_OUT_OF_RANGE")):
        request.charge.CopyFrom(money)
        with failing() as failures:
            stub.ReleaseSuspense(request, metadata=OWNER)
        assert failures[0].reason == reason
    request.ClearField("charge")
    assert stub.ReleaseSuspense(request, metadata=OWNER).wallet.available == credit(100)


def test_no_key_decides_about_lost_money_and_no_owner_while_the_edge_may_speak(
    stub: Stub, wallets: WalletOperations
) -> None:
    lease_id = lost_lease(wallets)
    resolve = pb.ResolveLeaseRequest(lease_id=lease_id, reason="lost")
    release = pb.ReleaseSuspenseRequest(suspense_id="sus_" + "0" * 26, reason="lost")
    for call in (
        lambda: stub.ResolveLease(resolve, metadata=ADMIN),
        lambda: stub.ReleaseSuspense(release, metadata=ADMIN),
    ):
        with failing() as failures:
            call()
        assert failures[0].reason == "ACCESS_DENIED"
    edge = EdgeIdentity("edg_1", 2, "instance-2")
    wallet_id = wallets.get_wallet(ORG).wallet_id
    living = wallets.open_lease(ORG, LeaseRequest(wallet_id, edge, "living", "hash", 5, 5, 0))
    assert living is not None
    for name, reason in ((living.lease_id, "HOLD_STATE"), ("lse_" + "0" * 26, "NOT_FOUND")):
        with failing() as failures:
            stub.ResolveLease(pb.ResolveLeaseRequest(lease_id=name, reason="lost"), metadata=OWNER)
        assert failures[0].reason == reason
    with failing() as failures:
        stub.ReleaseSuspense(release, metadata=OWNER)
    assert failures[0].reason == "NOT_FOUND"
