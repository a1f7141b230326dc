"""What WalletService refuses, over a real socket: for its reason, and with nothing half written."""

import dataclasses
from collections.abc import Callable, Iterator

import grpc
import pytest

from om.type.v1 import money_pb2
from om.wallet.v1 import wallet_service_pb2 as pb
from om.wallet.v1 import wallet_service_pb2_grpc
from om_server.rpc.caller import Caller, Principal
from om_server.schema import MODELS
from om_server.storage.database import Database
from om_server.wallet.charging import Charge
from om_server.wallet.leases.closing import Past
from om_server.wallet.leases.lease import EdgeIdentity, LeaseRequest
from om_server.wallet.operations import WalletOperations
from om_server.wallet.servicer import WalletServicer
from tests.rpc import Keyring, bearer, failing, key_caller, made, serving

Stub = wallet_service_pb2_grpc.WalletServiceStub
Call = Callable[[], object]
Metadata = tuple[tuple[str, str], ...]

ORG = "org_test"
ADMIN, OWNER = bearer("admin"), bearer("owner")
STRANGER, STRANGE_OWNER = bearer("stranger"), bearer("strange owner")
ADA = pb.WalletOwner(kind=pb.OWNER_KIND_USER, id="ada")


@pytest.fixture
def stub(wallets: WalletOperations) -> Iterator[Stub]:
    keyring = Keyring(
        {
            "admin": key_caller(),
            "owner": Caller(Principal.OWNER, organization_id=ORG, member_id="mem_1"),
            "stranger": key_caller(organization_id="org_2"),
            "strange owner": Caller(Principal.OWNER, organization_id="org_2", member_id="mem_2"),
        }
    )
    with serving([made(WalletServicer, wallets)], keyring) as channel:
        yield Stub(channel)


def money(nanos: int, currency: str = "CREDITS") -> money_pb2.Money:
    return money_pb2.Money(currency_code=currency, amount_nanos=nanos)


@dataclasses.dataclass(frozen=True)
class Scene:
    """Two wallets, an open hold, a charged event, an open lease and one whose money is in suspense."""

    org: str
    ada: str
    hold: str
    lease: str
    lost: str
    suspense: str


@pytest.fixture
def scene(stub: Stub, wallets: WalletOperations) -> Scene:
    def granted(owner: pb.WalletOwner | None, key: str) -> str:
        request = pb.GrantCreditsRequest(owner=owner, amount=money(1_000), idempotency_key=key)
        return stub.GrantCredits(request, metadata=ADMIN).wallet.wallet_id

    def leased(edge: EdgeIdentity, key: str) -> str:
        lease = wallets.open_lease(ORG, LeaseRequest(org, edge, key, "hash", 40, 40, 0))
        assert lease is not None
        return lease.lease_id

    org, ada = granted(None, "org"), granted(ADA, "ada")
    hold = stub.CreateHold(
        pb.CreateHoldRequest(wallet_id=org, amount=money(50), idempotency_key="hold"), metadata=ADMIN
    ).hold.hold_id
    wallets.settle_charges(ORG, [Charge("api", "evt", 10, wallet_id=org)])
    first, second = EdgeIdentity("edg_1", 1, "one"), EdgeIdentity("edg_1", 2, "two")
    wallets.resync(first, Past("boot"))
    suspended, lost = leased(first, "suspended"), leased(first, "lost")
    wallets.resync(second, Past("boot", clean=False))
    stub.ResolveLease(pb.ResolveLeaseRequest(lease_id=suspended, reason="the disk is gone"), metadata=OWNER)
    [found] = stub.ListSuspense(pb.ListSuspenseRequest(), metadata=OWNER).suspense
    return Scene(org, ada, hold, leased(second, "open"), lost, found.suspense_id)


def written(database: Database) -> dict[str, list[str]]:
    """Every row of every table."""
    return database.read(
        lambda: {model.__name__: sorted(map(repr, model.select().tuples())) for model in MODELS}
    )


def spending(stub: Stub, scene: Scene, amount: money_pb2.Money, key: str = "k") -> dict[str, Call]:
    """One call of everything that moves an amount."""
    return {
        "grant": lambda: stub.GrantCredits(
            pb.GrantCreditsRequest(amount=amount, idempotency_key=key), metadata=ADMIN
        ),
        "purchase": lambda: stub.PurchaseCredits(
            pb.PurchaseCreditsRequest(amount=amount, idempotency_key=key), metadata=ADMIN
        ),
        "deduct": lambda: stub.DeductCredits(
            pb.DeductCreditsRequest(amount=amount, idempotency_key=key), metadata=ADMIN
        ),
        "refund": lambda: stub.RefundCharge(
            pb.RefundChargeRequest(event_id="evt", amount=amount, idempotency_key=key), metadata=ADMIN
        ),
        "transfer": lambda: stub.TransferCredits(
            pb.TransferCreditsRequest(
                source_wallet_id=scene.org, target_wallet_id=scene.ada, amount=amount, idempotency_key=key
            ),
            metadata=ADMIN,
        ),
        "adjust": lambda: stub.AdjustWallet(
            pb.AdjustWalletRequest(
                wallet_id=scene.org, amount=amount, description="typo", idempotency_key=key
            ),
            metadata=ADMIN,
        ),
        "hold": lambda: stub.CreateHold(
            pb.CreateHoldRequest(wallet_id=scene.org, amount=amount, idempotency_key=key), metadata=ADMIN
        ),
        "capture": lambda: stub.CaptureHold(
            pb.CaptureHoldRequest(hold_id=scene.hold, amount=amount), metadata=ADMIN
        ),
        "suspense": lambda: stub.ReleaseSuspense(
            pb.ReleaseSuspenseRequest(suspense_id=scene.suspense, charge=amount, reason="why"), metadata=OWNER
        ),
    }


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        (money(0), "AMOUNT_OUT_OF_RANGE"),
        (money(-1), "AMOUNT_OUT_OF_RANGE"),
        # What no amount can be is refused by the contract already.
        (money(2**62 + 1), "INVALID_ARGUMENT"),
        (money(2**63 - 1), "INVALID_ARGUMENT"),
        (money(-(2**63)), "INVALID_ARGUMENT"),
        (money(5, "USD"), "CURRENCY_MISMATCH"),
        (money(5, "credits"), "INVALID_ARGUMENT"),
    ],
    ids=["zero", "negative", "above 2^62", "the greatest", "the least", "dollars", "lower case"],
)
def test_an_amount_that_is_none_is_refused_everywhere_and_nothing_is_written(
    stub: Stub, scene: Scene, database: Database, amount: money_pb2.Money, *, reason: str
) -> None:
    before = written(database)
    # An adjustment may be negative, and an owner may charge nothing of what is in suspense.
    fine = {("adjust", -1), ("suspense", 0)}

    for name, call in spending(stub, scene, amount).items():
        if (name, amount.amount_nanos) in fine:
            continue
        with failing() as failures:
            call()
        assert (name, failures[0].code, failures[0].reason) == (
            name,
            grpc.StatusCode.INVALID_ARGUMENT,
            reason,
        )

    assert written(database) == before


def test_a_key_with_another_payload_is_refused_everywhere_and_nothing_is_written(
    stub: Stub, scene: Scene, database: Database
) -> None:
    first, second = (spending(stub, scene, money(nanos)) for nanos in (3, 4))
    for call in first.values():
        call()
    before = written(database)

    # Two have no key: what was decided about a hold or about suspense is decided.
    refusals = {}
    for name, call in second.items():
        with failing() as failures:
            call()
        refusals[name] = failures[0].reason

    assert refusals == {
        **dict.fromkeys(refusals, "IDEMPOTENCY_KEY_REUSED"),
        "capture": "HOLD_STATE",
        "suspense": "HOLD_STATE",
    }
    assert written(database) == before


@dataclasses.dataclass(frozen=True)
class Stranger:
    """Another organization, with a wallet of its own, that asks for what is not its own."""

    stub: Stub
    wallet_id: str

    def get(self, wallet_id: str) -> object:
        return self.stub.GetWallet(pb.GetWalletRequest(wallet_id=wallet_id), metadata=STRANGER)

    def entries(self, wallet_id: str) -> object:
        return self.stub.ListEntries(pb.ListEntriesRequest(wallet_id=wallet_id), metadata=STRANGER)

    def leases(self, wallet_id: str) -> object:
        return self.stub.ListLeases(pb.ListLeasesRequest(wallet_id=wallet_id), metadata=STRANGER)

    def verify(self, wallet_id: str) -> object:
        return self.stub.VerifyLedger(pb.VerifyLedgerRequest(wallet_id=wallet_id), metadata=STRANGER)

    def overflow(self, wallet_id: str) -> object:
        wallet = pb.Wallet(overflow_wallet_id=wallet_id)
        return self.stub.UpdateWallet(pb.UpdateWalletRequest(wallet=wallet), metadata=STRANGER)

    def give(self, wallet_id: str) -> object:
        return self.transfer(self.wallet_id, wallet_id)

    def take(self, wallet_id: str) -> object:
        return self.transfer(wallet_id, self.wallet_id)

    def transfer(self, source: str, target: str) -> object:
        request = pb.TransferCreditsRequest(
            source_wallet_id=source, target_wallet_id=target, amount=money(1), idempotency_key="k"
        )
        return self.stub.TransferCredits(request, metadata=STRANGER)

    def adjust(self, wallet_id: str) -> object:
        request = pb.AdjustWalletRequest(
            wallet_id=wallet_id, amount=money(1), description="x", idempotency_key="k"
        )
        return self.stub.AdjustWallet(request, metadata=STRANGER)

    def reserve(self, wallet_id: str) -> object:
        request = pb.CreateHoldRequest(wallet_id=wallet_id, amount=money(1), idempotency_key="k")
        return self.stub.CreateHold(request, metadata=STRANGER)

    def capture(self, hold_id: str) -> object:
        return self.stub.CaptureHold(pb.CaptureHoldRequest(hold_id=hold_id), metadata=STRANGER)

    def release(self, hold_id: str) -> object:
        return self.stub.ReleaseHold(pb.ReleaseHoldRequest(hold_id=hold_id), metadata=STRANGER)

    def refund(self, event_id: str) -> object:
        request = pb.RefundChargeRequest(event_id=event_id, idempotency_key="k")
        return self.stub.RefundCharge(request, metadata=STRANGER)

    def resolve(self, lease_id: str) -> object:
        request = pb.ResolveLeaseRequest(lease_id=lease_id, reason="x")
        return self.stub.ResolveLease(request, metadata=STRANGE_OWNER)

    def decide(self, suspense_id: str) -> object:
        request = pb.ReleaseSuspenseRequest(suspense_id=suspense_id, reason="x")
        return self.stub.ReleaseSuspense(request, metadata=STRANGE_OWNER)


def answer(call: Callable[[str], object], asked: str) -> str:
    """All that a client gets, but for the id that it sent itself and the number of its request."""
    with failing() as failures:
        call(asked)
    return repr(dataclasses.replace(failures[0], request_id="")).replace(asked, "?")


def test_what_another_organization_has_answers_like_a_random_id_byte_for_byte(
    stub: Stub, scene: Scene, database: Database
) -> None:
    own = pb.GrantCreditsRequest(amount=money(9), idempotency_key="own")
    stranger = Stranger(stub, stub.GrantCredits(own, metadata=STRANGER).wallet.wallet_id)
    asked: dict[str, tuple[Callable[[str], object], ...]] = {
        scene.org: (
            stranger.get,
            stranger.entries,
            stranger.leases,
            stranger.verify,
            stranger.overflow,
            stranger.give,
            stranger.take,
            stranger.adjust,
            stranger.reserve,
        ),
        scene.hold: (stranger.capture, stranger.release),
        scene.lease: (stranger.capture,),
        scene.lost: (stranger.resolve,),
        scene.suspense: (stranger.decide,),
        "evt": (stranger.refund,),
    }
    before = written(database)

    for theirs, calls in asked.items():
        # Of the same form: a prefix and 26 characters, but for an event, whose id is anybody's own text.
        random_id = f"{theirs[:4]}{'0' * 26}" if "_" in theirs else "no_event"
        for call in calls:
            theirs_answer = answer(call, theirs)
            assert theirs_answer == answer(call, random_id)
            assert theirs_answer.startswith("RpcFailure(code=<StatusCode.NOT_FOUND")

    assert not stub.ListSuspense(pb.ListSuspenseRequest(), metadata=STRANGE_OWNER).suspense
    assert written(database) == before
