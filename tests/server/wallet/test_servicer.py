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
from om_server.storage.database import Database
from om_server.wallet.charging import Charge
from om_server.wallet.leases.lease import EdgeIdentity, LeaseRequest
from om_server.wallet.operations import WalletOperations
from om_server.wallet.record import WalletRow
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
        (pb.Wallet(overflow_wallet_id="wal_1"), ["overflow_wallet_id"], "NOT_FOUND"),
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


def test_a_wallet_that_is_named_beside_its_owner_must_be_that_owners(stub: Stub) -> None:
    org, ada = grant(stub, 10).wallet, grant(stub, 20, "ada", ADA).wallet
    with failing() as failures:
        # An id alone would otherwise change the organization's own wallet.
        blocked = pb.Wallet(wallet_id=ada.wallet_id, state=pb.WALLET_STATE_BLOCKED)
        stub.UpdateWallet(pb.UpdateWalletRequest(wallet=blocked), metadata=ADMIN)
    assert failures[0].reason == "INVALID_ARGUMENT"
    assert stub.GetWallet(pb.GetWalletRequest(), metadata=ADMIN).wallet == org
    own = pb.Wallet(wallet_id=ada.wallet_id, owner=ADA, state=pb.WALLET_STATE_BLOCKED)
    assert stub.UpdateWallet(pb.UpdateWalletRequest(wallet=own), metadata=ADMIN).wallet.state == own.state


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


def usage(wallets: WalletOperations, wallet_id: str, nanos: int) -> None:
    wallets.settle_charges(ORG, [Charge("api", "evt", nanos, wallet_id=wallet_id)])


def test_a_charge_is_given_back_in_parts_and_never_more_than_it_was(
    stub: Stub, wallets: WalletOperations
) -> None:
    wallet_id = grant(stub, 100).wallet.wallet_id
    usage(wallets, wallet_id, 60)
    part = pb.RefundChargeRequest(event_id="evt", amount=credit(20), idempotency_key="r1")
    first = stub.RefundCharge(part, metadata=ADMIN)
    (entry,) = first.entries
    assert (entry.kind, entry.debit_account, entry.credit_account) == (
        pb.ENTRY_KIND_REFUND,
        "refunded",
        "available",
    )
    assert (first.wallet.available, entry.event_id, entry.event_source) == (credit(60), "evt", "api")
    assert stub.RefundCharge(part, metadata=ADMIN).replayed
    with failing() as failures:
        stub.RefundCharge(
            pb.RefundChargeRequest(event_id="evt", amount=credit(41), idempotency_key="r2"), metadata=ADMIN
        )
    assert failures[0].reason == "AMOUNT_OUT_OF_RANGE"
    rest = pb.RefundChargeRequest(event_id="evt", idempotency_key="r2")
    assert stub.RefundCharge(rest, metadata=ADMIN).wallet.available == credit(100)


def test_credits_move_between_two_wallets(stub: Stub) -> None:
    org, ada = grant(stub, 100).wallet, grant(stub, 5, "ada", ADA).wallet
    request = pb.TransferCreditsRequest(
        source_wallet_id=org.wallet_id,
        target_wallet_id=ada.wallet_id,
        amount=credit(30),
        idempotency_key="t",
    )
    answer = stub.TransferCredits(request, metadata=ADMIN)
    assert (answer.source_wallet.available, answer.target_wallet.available) == (credit(70), credit(35))
    again = stub.TransferCredits(request, metadata=ADMIN)
    assert again.replayed
    assert (again.source_wallet, again.target_wallet) == (answer.source_wallet, answer.target_wallet)


def test_a_wallet_is_corrected_up_and_down(stub: Stub) -> None:
    wallet_id = grant(stub, 100).wallet.wallet_id
    for key, nanos, left in (("up", 50, 150), ("down", -120, 30)):
        answer = stub.AdjustWallet(
            pb.AdjustWalletRequest(
                wallet_id=wallet_id, amount=credit(nanos), description="typo", idempotency_key=key
            ),
            metadata=ADMIN,
        )
        assert answer.wallet.available == credit(left)
        assert {entry.kind for entry in answer.entries} == {pb.ENTRY_KIND_ADJUSTMENT}
        assert answer.entries[0].description == "typo"


@pytest.mark.parametrize(
    ("amount", "reason"), [(credit(0), "AMOUNT_OUT_OF_RANGE"), (credit(5, "EUR"), "CURRENCY_MISMATCH")]
)
def test_bad_amounts_are_refused_everywhere(stub: Stub, amount: money_pb2.Money, reason: str) -> None:
    org, ada = grant(stub, 100).wallet.wallet_id, grant(stub, 5, "ada", ADA).wallet.wallet_id
    hold = stub.CreateHold(
        pb.CreateHoldRequest(wallet_id=org, amount=credit(5), idempotency_key="h"), metadata=ADMIN
    ).hold
    calls: list[Callable[[], object]] = [
        lambda: stub.RefundCharge(
            pb.RefundChargeRequest(event_id="e", amount=amount, idempotency_key="k"), metadata=ADMIN
        ),
        lambda: stub.TransferCredits(
            pb.TransferCreditsRequest(
                source_wallet_id=org, target_wallet_id=ada, amount=amount, idempotency_key="k"
            ),
            metadata=ADMIN,
        ),
        lambda: stub.AdjustWallet(
            pb.AdjustWalletRequest(wallet_id=org, amount=amount, description="x", idempotency_key="k"),
            metadata=ADMIN,
        ),
        lambda: stub.CreateHold(
            pb.CreateHoldRequest(wallet_id=org, amount=amount, idempotency_key="k"), metadata=ADMIN
        ),
        lambda: stub.CaptureHold(pb.CaptureHoldRequest(hold_id=hold.hold_id, amount=amount), metadata=ADMIN),
    ]
    for call in calls:
        with failing() as failures:
            call()
        assert (failures[0].code, failures[0].reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert stub.GetWallet(pb.GetWalletRequest(), metadata=READER).wallet.available == credit(95)


def test_a_hold_is_made_captured_and_released(stub: Stub, clock: FakeClock) -> None:
    wallet_id = grant(stub, 100).wallet.wallet_id
    request = pb.CreateHoldRequest(wallet_id=wallet_id, amount=credit(40), idempotency_key="h")
    made = stub.CreateHold(request, metadata=ADMIN)
    assert (made.hold.state, made.hold.amount) == (pb.HOLD_STATE_PENDING, credit(40))
    assert not made.hold.HasField("captured")
    assert made.hold.expire_time == timestamp_to_proto(clock.now + 3_600_000_000)
    captured = stub.CaptureHold(
        pb.CaptureHoldRequest(hold_id=made.hold.hold_id, amount=credit(15)), metadata=ADMIN
    ).hold
    assert (captured.state, captured.captured) == (pb.HOLD_STATE_CAPTURED, credit(15))
    assert stub.CreateHold(request, metadata=ADMIN).hold == made.hold
    with failing() as failures:
        stub.ReleaseHold(pb.ReleaseHoldRequest(hold_id=made.hold.hold_id), metadata=ADMIN)
    assert (failures[0].code, failures[0].reason) == (grpc.StatusCode.FAILED_PRECONDITION, "HOLD_STATE")
    request.idempotency_key = "h2"
    other = stub.CreateHold(request, metadata=ADMIN).hold
    released = stub.ReleaseHold(pb.ReleaseHoldRequest(hold_id=other.hold_id), metadata=ADMIN).hold
    assert released.state == pb.HOLD_STATE_RELEASED
    wallet = stub.GetWallet(pb.GetWalletRequest(), metadata=READER).wallet
    assert (wallet.available, wallet.held) == (credit(85), credit(0))


def test_another_organizations_money_is_like_none(stub: Stub, wallets: WalletOperations) -> None:
    mine = stub.GrantCredits(pb.GrantCreditsRequest(amount=credit(9), idempotency_key="k"), metadata=STRANGER)
    theirs = grant(stub, 100).wallet.wallet_id
    usage(wallets, theirs, 10)
    held = stub.CreateHold(
        pb.CreateHoldRequest(wallet_id=theirs, amount=credit(5), idempotency_key="h"), metadata=ADMIN
    ).hold.hold_id
    random, no_hold = f"wal_{'0' * 26}", f"hld_{'0' * 26}"

    def transfer(wallet_id: str) -> object:
        request = pb.TransferCreditsRequest(
            source_wallet_id=mine.wallet.wallet_id,
            target_wallet_id=wallet_id,
            amount=credit(1),
            idempotency_key=wallet_id,
        )
        return stub.TransferCredits(request, metadata=STRANGER)

    def adjust(wallet_id: str) -> object:
        request = pb.AdjustWalletRequest(
            wallet_id=wallet_id, amount=credit(1), description="x", idempotency_key=wallet_id
        )
        return stub.AdjustWallet(request, metadata=STRANGER)

    def reserve(wallet_id: str) -> object:
        request = pb.CreateHoldRequest(wallet_id=wallet_id, amount=credit(1), idempotency_key=wallet_id)
        return stub.CreateHold(request, metadata=STRANGER)

    calls: list[tuple[Callable[[str], object], str, str]] = [
        (transfer, theirs, random),
        (adjust, theirs, random),
        (reserve, theirs, random),
        (lambda i: stub.VerifyLedger(pb.VerifyLedgerRequest(wallet_id=i), metadata=STRANGER), theirs, random),
        (
            lambda i: stub.CaptureHold(pb.CaptureHoldRequest(hold_id=i), metadata=STRANGER),
            held,
            no_hold,
        ),
        (
            lambda i: stub.ReleaseHold(pb.ReleaseHoldRequest(hold_id=i), metadata=STRANGER),
            held,
            no_hold,
        ),
        (
            lambda i: stub.RefundCharge(
                pb.RefundChargeRequest(event_id=i, idempotency_key=i), metadata=STRANGER
            ),
            "evt",
            "no_event",
        ),
    ]
    for call, theirs_id, random_id in calls:
        answers = []
        for asked in (theirs_id, random_id):
            with failing() as failures:
                call(asked)
            answers.append((failures[0].code, failures[0].reason, sorted(failures[0].metadata)))
        assert answers[0] == answers[1]
        assert answers[0][:2] == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


def test_a_ledger_is_verified(stub: Stub, wallets: WalletOperations) -> None:
    wallet_id = grant(stub, 100).wallet.wallet_id
    usage(wallets, wallet_id, 10)
    for request in (pb.VerifyLedgerRequest(), pb.VerifyLedgerRequest(wallet_id=wallet_id)):
        assert stub.VerifyLedger(request, metadata=ADMIN) == pb.VerifyLedgerResponse(
            valid=True, entry_count=2
        )
    with failing() as failures:
        stub.VerifyLedger(pb.VerifyLedgerRequest(), metadata=READER)
    assert failures[0].reason == "SCOPE_MISSING"


def test_the_first_bad_entry_is_named(stub: Stub, wallets: WalletOperations, database: Database) -> None:
    wallet_id = grant(stub, 100).wallet.wallet_id
    database.write(lambda: WalletRow.update(available=99).execute())
    answer = stub.VerifyLedger(pb.VerifyLedgerRequest(), metadata=ADMIN)
    entry = stub.ListEntries(pb.ListEntriesRequest(wallet_id=wallet_id), metadata=READER).entries[0]
    assert (answer.valid, answer.first_bad_entry_id) == (False, entry.entry_id)
    assert "the entries make (100, 0, 0)" in answer.message
    database.write(lambda: WalletRow.update(available=100).execute())


def test_overflow_is_set_and_taken_away(stub: Stub) -> None:
    org, ada = grant(stub, 100).wallet, grant(stub, 5, "ada", ADA).wallet
    wanted = pb.Wallet(owner=ADA, overflow_wallet_id=org.wallet_id)
    assert stub.UpdateWallet(pb.UpdateWalletRequest(wallet=wanted), metadata=ADMIN).wallet == pb.Wallet(
        **{**{field.name: value for field, value in ada.ListFields()}, "overflow_wallet_id": org.wallet_id}
    )
    back = pb.Wallet(overflow_wallet_id=ada.wallet_id)
    with failing() as failures:
        stub.UpdateWallet(pb.UpdateWalletRequest(wallet=back), metadata=ADMIN)
    assert failures[0].reason == "INVALID_ARGUMENT"
    none = pb.UpdateWalletRequest(
        wallet=pb.Wallet(owner=ADA), update_mask=FieldMask(paths=["overflow_wallet_id"])
    )
    assert stub.UpdateWallet(none, metadata=ADMIN).wallet == ada
