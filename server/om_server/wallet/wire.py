"""Wallets and what belongs to them as messages, and requests as values."""

from om.wallet.v1 import wallet_service_pb2 as pb
from om_server.core.errors import InvalidArgument
from om_server.core.money import CREDITS, CurrencyMismatch
from om_server.rpc.convert import (
    credits_to_proto,
    money_from_proto,
    optional_timestamp_to_proto,
    timestamp_from_proto,
    timestamp_to_proto,
)
from om_server.wallet.audit import LedgerReport
from om_server.wallet.change import WalletChange
from om_server.wallet.entry import Entry
from om_server.wallet.funding import credits_of
from om_server.wallet.grant import Grant
from om_server.wallet.holds.escrow import Escrow
from om_server.wallet.holds.hold import Hold
from om_server.wallet.leases.lease import Lease
from om_server.wallet.transaction import Transaction
from om_server.wallet.wallet import Owner, OwnerKind, Wallet, WalletMode

_CHANGEABLE = ("mode", "credit_limit", "overflow_wallet_id", "state")
_BLOCKED = {pb.WALLET_STATE_BLOCKED: True, pb.WALLET_STATE_ACTIVE: False}


def owner_kind_from_proto(kind: "pb.OwnerKind.ValueType") -> OwnerKind:
    """Translate the kind; the contract reads unspecified as the organization."""
    if kind == pb.OWNER_KIND_UNSPECIFIED:
        return OwnerKind.ORGANIZATION
    return OwnerKind[pb.OwnerKind.Name(kind).removeprefix("OWNER_KIND_")]


def owner_from_proto(owner: pb.WalletOwner, organization_id: str) -> Owner:
    return Owner.of(organization_id, owner_kind_from_proto(owner.kind), owner_id=owner.id)


def change_from_proto(request: pb.UpdateWalletRequest) -> WalletChange:
    """Read the settings that the mask names; without a mask, those that are set."""
    wallet = request.wallet
    if request.HasField("update_mask"):
        paths = set(request.update_mask.paths)
    else:
        given = {field.name for field, _ in wallet.ListFields()}
        paths = given.intersection(_CHANGEABLE)
    if unknown := sorted(paths.difference(_CHANGEABLE)):
        raise InvalidArgument("update_mask", f"{unknown[0]} cannot be changed")
    if "state" in paths and wallet.state not in _BLOCKED:
        raise InvalidArgument("wallet.state", "only BLOCKED, and ACTIVE to lift the block, can be set")
    limit = money_from_proto(wallet.credit_limit) if wallet.HasField("credit_limit") else None
    if limit is not None and limit.currency != CREDITS:
        raise CurrencyMismatch(limit.currency, CREDITS)
    soft = wallet.mode == pb.WALLET_MODE_SOFT
    return WalletChange(
        wallet_id=wallet.wallet_id or None,
        mode=(WalletMode.SOFT if soft else WalletMode.STRICT) if "mode" in paths else None,
        credit_limit=(limit.nanos if limit else 0) if "credit_limit" in paths else None,
        blocked=_BLOCKED[wallet.state] if "state" in paths else None,
        overflow_wallet_id=wallet.overflow_wallet_id if "overflow_wallet_id" in paths else None,
    )


def wallet_to_proto(wallet: Wallet) -> pb.Wallet:
    return pb.Wallet(
        wallet_id=wallet.wallet_id,
        owner=pb.WalletOwner(
            kind=pb.OwnerKind.Value(f"OWNER_KIND_{wallet.owner.kind.name}"), id=wallet.owner.owner_id
        ),
        exists=wallet.exists,
        available=credits_to_proto(wallet.available),
        held=credits_to_proto(wallet.held),
        posted=credits_to_proto(wallet.posted),
        receivable=credits_to_proto(wallet.receivable),
        credit_limit=credits_to_proto(wallet.credit_limit),
        mode=pb.WalletMode.Value(f"WALLET_MODE_{wallet.mode.name}"),
        state=pb.WalletState.Value(f"WALLET_STATE_{wallet.state.name}"),
        overflow_wallet_id=wallet.overflow_wallet_id,
        next_expire_time=optional_timestamp_to_proto(wallet.next_expire_time),
        create_time=timestamp_to_proto(wallet.create_time) if wallet.exists else None,
    )


def grant_to_proto(grant: Grant) -> pb.Grant:
    return pb.Grant(
        grant_id=grant.grant_id,
        wallet_id=grant.wallet_id,
        amount=credits_to_proto(grant.amount),
        available=credits_to_proto(grant.available),
        held=credits_to_proto(grant.held),
        priority=grant.priority,
        expire_time=optional_timestamp_to_proto(grant.expire_time),
        create_time=timestamp_to_proto(grant.create_time),
    )


def entry_to_proto(entry: Entry) -> pb.Entry:
    return pb.Entry(
        entry_id=entry.entry_id,
        wallet_id=entry.wallet_id,
        sequence=entry.sequence,
        kind=pb.EntryKind.Value(f"ENTRY_KIND_{entry.kind.name}"),
        debit_account=entry.debit_account,
        credit_account=entry.credit_account,
        amount=credits_to_proto(entry.amount),
        grant_id=entry.grant_id,
        hold_id=entry.hold_id,
        event_id=entry.event_id,
        event_source=entry.event_source,
        description=entry.description,
        available_after=credits_to_proto(entry.available_after),
        create_time=timestamp_to_proto(entry.create_time),
    )


def transaction_to_proto(transaction: Transaction) -> pb.Transaction:
    entry = transaction.entry
    return pb.Transaction(
        entry_id=entry.entry_id,
        wallet_id=entry.wallet_id,
        kind=pb.EntryKind.Value(f"ENTRY_KIND_{entry.kind.name}"),
        amount=credits_to_proto(transaction.amount),
        balance_before=credits_to_proto(transaction.balance_before),
        balance_after=credits_to_proto(transaction.balance_after),
        event_id=entry.event_id,
        event_source=entry.event_source,
        description=entry.description,
        create_time=timestamp_to_proto(entry.create_time),
    )


def lease_to_proto(lease: Lease) -> pb.WalletLease:
    return pb.WalletLease(
        lease_id=lease.lease_id,
        wallet_id=lease.wallet_id,
        edge_id=lease.edge_id,
        amount=credits_to_proto(lease.amount),
        remaining=credits_to_proto(lease.remaining),
        settled_count=lease.settled_count,
        final_count=lease.final_count,
        state=lease.state,
        create_time=timestamp_to_proto(lease.create_time),
        expire_time=timestamp_to_proto(lease.expire_time),
    )


def suspense_to_proto(suspense: Escrow) -> pb.Suspense:
    return pb.Suspense(
        suspense_id=suspense.escrow_id,
        wallet_id=suspense.wallet_id,
        amount=credits_to_proto(suspense.remaining),
        cause_id=suspense.cause_id,
        create_time=timestamp_to_proto(suspense.create_time),
    )


def hold_to_proto(hold: Hold) -> pb.Hold:
    return pb.Hold(
        hold_id=hold.hold_id,
        wallet_id=hold.wallet_id,
        amount=credits_to_proto(hold.amount),
        captured=None if hold.captured is None else credits_to_proto(hold.captured),
        state=pb.HoldState.Value(f"HOLD_STATE_{hold.state.name}"),
        expire_time=timestamp_to_proto(hold.expire_time),
        create_time=timestamp_to_proto(hold.create_time),
    )


def report_to_proto(report: LedgerReport) -> pb.VerifyLedgerResponse:
    finding = report.first.finding if report.first else None
    return pb.VerifyLedgerResponse(
        valid=finding is None,
        entry_count=report.entry_count,
        first_bad_entry_id=finding.entry_id if finding else "",
        message=f"wallet {report.first.wallet_id}: {finding.message}" if report.first and finding else "",
    )


def expire_time_of(
    request: pb.GrantCreditsRequest | pb.PurchaseCreditsRequest | pb.CreateHoldRequest,
) -> int | None:
    """Return the expiry that a request names; None if it names none."""
    if not request.HasField("expire_time"):
        return None
    return timestamp_from_proto(request.expire_time, "expire_time")


def amount_of(request: pb.RefundChargeRequest | pb.CaptureHoldRequest) -> int | None:
    """Return the nano-credits that a request names; None, which means all, if it names none."""
    return credits_of(money_from_proto(request.amount)) if request.HasField("amount") else None


def charge_of(request: pb.ReleaseSuspenseRequest) -> int:
    """Return how many nano-credits an owner charges; nothing unless the request says so."""
    if not request.HasField("charge"):
        return 0
    charge = money_from_proto(request.charge)
    if charge.currency != CREDITS:
        raise CurrencyMismatch(charge.currency, CREDITS)
    return charge.nanos
