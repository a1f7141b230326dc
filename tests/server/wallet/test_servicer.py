"""WalletService over a real socket."""

from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from om.type.v1 import money_pb2
from om.wallet.v1 import wallet_service_pb2 as pb
from om.wallet.v1 import wallet_service_pb2_grpc
from om_server.rpc.caller import Scope
from om_server.rpc.convert import timestamp_to_proto
from om_server.wallet.charging import Charge
from om_server.wallet.lease import EdgeIdentity, LeaseRequest
from om_server.wallet.operations import WalletOperations
from om_server.wallet.servicer import WalletServicer
from tests.rpc import Keyring, bearer, failing, key_caller, made, serving
from tests.server.wallet.scene import FakeClock

Stub = wallet_service_pb2_grpc.WalletServiceStub

ORG = "org_test"
ADMIN, READER, STRANGER = bearer("admin"), bearer("reader"), bearer("stranger")
ADA = pb.WalletOwner(kind=pb.OWNER_KIND_USER, id="ada")


@pytest.fixture
def stub(wallets: WalletOperations) -> Iterator[Stub]:
    keyring = Keyring(
        {
            "admin": key_caller(),
            "reader": key_caller(Scope.READ),
            "stranger": key_caller(organization_id="org_2"),
        }
    )
    with serving([made(WalletServicer, wallets)], keyring) as channel:
        yield Stub(channel)


def credit(nanos: int, currency: str = "CREDITS") -> money_pb2.Money:
    return money_pb2.Money(currency_code=currency, amount_nanos=nanos)


def grant(
    stub: Stub, nanos: int, key: str = "key", owner: pb.WalletOwner | None = None
) -> pb.GrantCreditsResponse:
    request = pb.GrantCreditsRequest(owner=owner, amount=credit(nanos), idempotency_key=key, description="hi")
    return stub.GrantCredits(request, metadata=ADMIN)


def test_a_missing_wallet_shows_zero_and_does_not_exist(stub: Stub) -> None:
    answer = stub.GetWallet(pb.GetWalletRequest(), metadata=READER)
    assert not answer.wallet.exists
    assert answer.wallet.available == answer.wallet.posted == credit(0)
    assert answer.wallet.owner == pb.WalletOwner(kind=pb.OWNER_KIND_ORGANIZATION, id=ORG)
    assert not answer.HasField("last_entry")
    assert not answer.wallet.HasField("create_time")


def test_a_grant_shows_in_the_wallet_of_its_owner(stub: Stub, clock: FakeClock) -> None:
    given = grant(stub, 5_000, owner=ADA)
    assert given.grant.priority == 100
    assert (given.entry.kind, given.entry.sequence) == (pb.ENTRY_KIND_GRANT, 1)
    assert (given.entry.debit_account, given.entry.credit_account) == ("funding", "available")
    assert given.entry.create_time == timestamp_to_proto(clock.now)
    answer = stub.GetWallet(pb.GetWalletRequest(owner=ADA), metadata=READER)
    assert answer.wallet == given.wallet
    assert answer.last_entry == given.entry
    assert answer.wallet.state == pb.WALLET_STATE_ACTIVE
    by_id = stub.GetWallet(pb.GetWalletRequest(wallet_id=answer.wallet.wallet_id), metadata=READER)
    assert by_id == answer


def test_a_repeated_grant_is_the_stored_answer(stub: Stub) -> None:
    first, again = grant(stub, 5_000), grant(stub, 5_000)
    assert (first.replayed, again.replayed) == (False, True)
    again.replayed = False
    assert again == first
    with failing() as failures:
        grant(stub, 5_001)
    assert failures[0].code is grpc.StatusCode.ALREADY_EXISTS
    assert failures[0].reason == "IDEMPOTENCY_KEY_REUSED"


def test_a_purchase_records_what_was_paid(stub: Stub, clock: FakeClock) -> None:
    request = pb.PurchaseCreditsRequest(
        amount=credit(700),
        price=credit(5, "EUR"),
        idempotency_key="key",
        expire_time=timestamp_to_proto(clock.now + 1_000_000),
    )
    bought = stub.PurchaseCredits(request, metadata=ADMIN)
    assert bought.entry.kind == pb.ENTRY_KIND_PURCHASE
    assert bought.grant.expire_time == bought.wallet.next_expire_time == request.expire_time
    assert stub.PurchaseCredits(request, metadata=ADMIN).replayed


def test_a_deduction_that_the_wallet_cannot_pay_says_what_is_missing(stub: Stub) -> None:
    wallet = grant(stub, 5_000_000_000).wallet
    request = pb.DeductCreditsRequest(amount=credit(7_500_000_000), idempotency_key="d")
    with failing() as failures:
        stub.DeductCredits(request, metadata=ADMIN)
    assert failures[0].code is grpc.StatusCode.FAILED_PRECONDITION
    assert failures[0].reason == "INSUFFICIENT_FUNDS"
    assert failures[0].metadata == {"wallet_id": wallet.wallet_id, "needed": "7.5", "available": "5"}
    request.amount.amount_nanos = 2_000_000_000
    taken = stub.DeductCredits(request, metadata=ADMIN)
    assert taken.wallet.available == credit(3_000_000_000)
    assert [entry.kind for entry in taken.entries] == [pb.ENTRY_KIND_DEDUCTION]


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        (credit(5, "USD"), "CURRENCY_MISMATCH"),
        (credit(0), "AMOUNT_OUT_OF_RANGE"),
        (credit(-5), "AMOUNT_OUT_OF_RANGE"),
    ],
)
def test_only_positive_credits_are_moved(stub: Stub, amount: money_pb2.Money, reason: str) -> None:
    with failing() as failures:
        stub.GrantCredits(pb.GrantCreditsRequest(amount=amount, idempotency_key="k"), metadata=ADMIN)
    with failing() as more:
        stub.DeductCredits(pb.DeductCreditsRequest(amount=amount, idempotency_key="k"), metadata=ADMIN)
    assert failures[0].reason == more[0].reason == reason
    assert failures[0].code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_wallet_is_changed_by_mask_or_by_what_is_set(stub: Stub) -> None:
    wanted = pb.Wallet(
        owner=ADA, mode=pb.WALLET_MODE_SOFT, credit_limit=credit(90), state=pb.WALLET_STATE_BLOCKED
    )
    only_mode = pb.UpdateWalletRequest(wallet=wanted, update_mask=FieldMask(paths=["mode"]))
    wallet = stub.UpdateWallet(only_mode, metadata=ADMIN).wallet
    assert (wallet.mode, wallet.credit_limit, wallet.state) == (
        pb.WALLET_MODE_SOFT,
        credit(0),
        pb.WALLET_STATE_EXHAUSTED,
    )
    wallet = stub.UpdateWallet(pb.UpdateWalletRequest(wallet=wanted), metadata=ADMIN).wallet
    assert (wallet.credit_limit, wallet.state) == (credit(90), pb.WALLET_STATE_BLOCKED)
    lifted = pb.UpdateWalletRequest(wallet=pb.Wallet(owner=ADA, state=pb.WALLET_STATE_ACTIVE))
    wallet = stub.UpdateWallet(lifted, metadata=ADMIN).wallet
    assert (wallet.mode, wallet.state) == (pb.WALLET_MODE_SOFT, pb.WALLET_STATE_EXHAUSTED)


@pytest.mark.parametrize(
    ("wallet", "paths", "reason"),
    [
        (pb.Wallet(), ["available"], "INVALID_ARGUMENT"),
        (pb.Wallet(state=pb.WALLET_STATE_EXHAUSTED), ["state"], "INVALID_ARGUMENT"),
        (pb.Wallet(), ["state"], "INVALID_ARGUMENT"),
        (pb.Wallet(credit_limit=credit(5, "USD")), ["credit_limit"], "CURRENCY_MISMATCH"),
        (pb.Wallet(credit_limit=credit(-5)), ["credit_limit"], "AMOUNT_OUT_OF_RANGE"),
        (pb.Wallet(overflow_wallet_id="wal_1"), ["overflow_wallet_id"], "NOT_IMPLEMENTED"),
    ],
)
def test_what_cannot_be_set_is_refused_and_creates_nothing(
    stub: Stub, wallet: pb.Wallet, paths: list[str], reason: str
) -> None:
    with failing() as failures:
        stub.UpdateWallet(
            pb.UpdateWalletRequest(wallet=wallet, update_mask=FieldMask(paths=paths)), metadata=ADMIN
        )
    assert failures[0].reason == reason
    assert not stub.GetWallet(pb.GetWalletRequest(), metadata=ADMIN).wallet.exists


def test_wallets_and_entries_are_listed_in_pages(stub: Stub) -> None:
    org, ada = grant(stub, 10).wallet, grant(stub, 20, "ada", ADA).wallet
    page = stub.ListWallets(pb.ListWalletsRequest(page_size=1), metadata=READER)
    rest = stub.ListWallets(
        pb.ListWalletsRequest(page_size=1, page_token=page.next_page_token), metadata=READER
    )
    assert [*page.wallets, *rest.wallets] == [org, ada]
    assert rest.next_page_token == ""
    users = stub.ListWallets(pb.ListWalletsRequest(kind=pb.OWNER_KIND_USER), metadata=READER)
    assert list(users.wallets) == [ada]
    grant(stub, 30, "more")
    request = pb.ListEntriesRequest(wallet_id=org.wallet_id, page_size=1, skip=1)
    entries = stub.ListEntries(request, metadata=READER)
    assert ([entry.amount for entry in entries.entries], entries.total_size) == ([credit(10)], 2)


def test_leases_and_what_they_cost_are_shown(stub: Stub, wallets: WalletOperations) -> None:
    wallet_id = grant(stub, 100).wallet.wallet_id
    edge = EdgeIdentity("edg_1", 1, "instance")
    wallets.open_lease(ORG, LeaseRequest(wallet_id, edge, "key", "hash", 40, 40, 1))
    wallets.settle_charges(ORG, [Charge("api", "evt", 70, wallet_id=wallet_id, description="chat")])
    (lease,) = stub.ListLeases(pb.ListLeasesRequest(wallet_id=wallet_id), metadata=READER).leases
    assert (lease.edge_id, lease.amount, lease.remaining, lease.state) == (
        "edg_1",
        credit(40),
        credit(40),
        "open",
    )
    assert (lease.final_count, lease.settled_count) == (1, 0)
    answer = stub.GetWallet(pb.GetWalletRequest(wallet_id=wallet_id), metadata=READER)
    assert (answer.wallet.held, answer.wallet.receivable) == (credit(40), credit(10))
    assert answer.last_entry.kind == pb.ENTRY_KIND_RECEIVABLE
    assert (answer.last_entry.event_source, answer.last_entry.event_id) == ("api", "evt")
    assert answer.last_entry.description == "chat"


def test_another_organizations_wallet_is_like_none(stub: Stub) -> None:
    wallet_id = grant(stub, 100).wallet.wallet_id
    calls: list[Callable[[], object]] = [
        lambda: stub.GetWallet(pb.GetWalletRequest(wallet_id=wallet_id), metadata=STRANGER),
        lambda: stub.ListEntries(pb.ListEntriesRequest(wallet_id=wallet_id), metadata=STRANGER),
        lambda: stub.ListLeases(pb.ListLeasesRequest(wallet_id=wallet_id), metadata=STRANGER),
    ]
    for call in calls:
        with failing() as failures:
            call()
        assert (failures[0].code, failures[0].reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    assert not stub.GetWallet(pb.GetWalletRequest(), metadata=STRANGER).wallet.exists


def test_a_reader_changes_nothing(stub: Stub) -> None:
    with failing() as failures:
        stub.GrantCredits(pb.GrantCreditsRequest(amount=credit(1), idempotency_key="k"), metadata=READER)
    assert failures[0].reason == "SCOPE_MISSING"


def test_what_is_not_built_says_so(stub: Stub) -> None:
    with failing() as failures:
        stub.VerifyLedger(pb.VerifyLedgerRequest(), metadata=ADMIN)
    assert failures[0].reason == "NOT_IMPLEMENTED"
