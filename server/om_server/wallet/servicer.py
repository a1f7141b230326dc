"""WalletService on the wire. Holds, refunds, transfers and the audit of the ledger are not answered yet."""

import grpc

from om.wallet.v1 import wallet_service_pb2 as pb
from om.wallet.v1 import wallet_service_pb2_grpc
from om_server.core.errors import InvalidArgument, Unimplemented
from om_server.core.money import CREDITS, CurrencyMismatch
from om_server.rpc.caller import caller
from om_server.rpc.convert import (
    credits_to_proto,
    money_from_proto,
    optional_timestamp_to_proto,
    page_from_proto,
    timestamp_from_proto,
    timestamp_to_proto,
)
from om_server.wallet.entry import Entry
from om_server.wallet.funding import Deduction, Deposit
from om_server.wallet.grant import PRIORITY_DEFAULT, Grant
from om_server.wallet.lease import Lease
from om_server.wallet.ledger import credits_of
from om_server.wallet.operations import WalletChange, WalletOperations
from om_server.wallet.wallet import Owner, OwnerKind, Wallet, WalletMode

_CHANGEABLE = ("mode", "credit_limit", "overflow_wallet_id", "state")
_BLOCKED = {pb.WALLET_STATE_BLOCKED: True, pb.WALLET_STATE_ACTIVE: False}


class WalletServicer(wallet_service_pb2_grpc.WalletServiceServicer):
    """Translates between messages and the operations of wallets."""

    def __init__(self, operations: WalletOperations) -> None:
        self._operations = operations

    def GetWallet(self, request: pb.GetWalletRequest, context: grpc.ServicerContext) -> pb.GetWalletResponse:
        organization_id = caller().organization_id
        # Which owner does not matter where the wallet is named.
        owner = None if request.wallet_id else owner_from_proto(request.owner, organization_id)
        wallet = self._operations.get_wallet(organization_id, owner=owner, wallet_id=request.wallet_id)
        entry = self._operations.last_entry(organization_id, wallet.wallet_id) if wallet.exists else None
        return pb.GetWalletResponse(
            wallet=wallet_to_proto(wallet), last_entry=entry_to_proto(entry) if entry else None
        )

    def ListWallets(
        self, request: pb.ListWalletsRequest, context: grpc.ServicerContext
    ) -> pb.ListWalletsResponse:
        page = self._operations.list_wallets(
            caller().organization_id,
            kind=owner_kind_from_proto(request.kind) if request.kind else None,
            page=page_from_proto(request),
        )
        return pb.ListWalletsResponse(
            wallets=[wallet_to_proto(wallet) for wallet in page.wallets],
            next_page_token=page.next_page_token,
        )

    def UpdateWallet(
        self, request: pb.UpdateWalletRequest, context: grpc.ServicerContext
    ) -> pb.UpdateWalletResponse:
        organization_id = caller().organization_id
        wallet = self._operations.update_wallet(
            organization_id,
            owner_from_proto(request.wallet.owner, organization_id),
            change=change_from_proto(request),
        )
        return pb.UpdateWalletResponse(wallet=wallet_to_proto(wallet))

    def GrantCredits(
        self, request: pb.GrantCreditsRequest, context: grpc.ServicerContext
    ) -> pb.GrantCreditsResponse:
        organization_id = caller().organization_id
        receipt = self._operations.grant_credits(
            organization_id,
            Deposit(
                owner=owner_from_proto(request.owner, organization_id),
                amount=credits_of(money_from_proto(request.amount)),
                idempotency_key=request.idempotency_key,
                priority=request.priority if request.HasField("priority") else PRIORITY_DEFAULT,
                expire_time=_expire_time(request),
                description=request.description,
            ),
        )
        return pb.GrantCreditsResponse(
            grant=grant_to_proto(receipt.grant) if receipt.grant else None,
            wallet=wallet_to_proto(receipt.wallet),
            entry=entry_to_proto(receipt.entries[0]),
            replayed=receipt.replayed,
        )

    def PurchaseCredits(
        self, request: pb.PurchaseCreditsRequest, context: grpc.ServicerContext
    ) -> pb.PurchaseCreditsResponse:
        organization_id = caller().organization_id
        receipt = self._operations.purchase_credits(
            organization_id,
            Deposit(
                owner=owner_from_proto(request.owner, organization_id),
                amount=credits_of(money_from_proto(request.amount)),
                idempotency_key=request.idempotency_key,
                expire_time=_expire_time(request),
                description=request.description,
                price=money_from_proto(request.price) if request.HasField("price") else None,
            ),
        )
        return pb.PurchaseCreditsResponse(
            grant=grant_to_proto(receipt.grant) if receipt.grant else None,
            wallet=wallet_to_proto(receipt.wallet),
            entry=entry_to_proto(receipt.entries[0]),
            replayed=receipt.replayed,
        )

    def DeductCredits(
        self, request: pb.DeductCreditsRequest, context: grpc.ServicerContext
    ) -> pb.DeductCreditsResponse:
        organization_id = caller().organization_id
        receipt = self._operations.deduct_credits(
            organization_id,
            Deduction(
                owner=owner_from_proto(request.owner, organization_id),
                amount=credits_of(money_from_proto(request.amount)),
                idempotency_key=request.idempotency_key,
                description=request.description,
            ),
        )
        return pb.DeductCreditsResponse(
            wallet=wallet_to_proto(receipt.wallet),
            entries=[entry_to_proto(entry) for entry in receipt.entries],
            replayed=receipt.replayed,
        )

    def ListEntries(
        self, request: pb.ListEntriesRequest, context: grpc.ServicerContext
    ) -> pb.ListEntriesResponse:
        page = self._operations.list_entries(
            caller().organization_id, request.wallet_id, page=page_from_proto(request, skip=request.skip)
        )
        return pb.ListEntriesResponse(
            entries=[entry_to_proto(entry) for entry in page.entries],
            next_page_token=page.next_page_token,
            total_size=page.total_size,
        )

    def ListLeases(
        self, request: pb.ListLeasesRequest, context: grpc.ServicerContext
    ) -> pb.ListLeasesResponse:
        page = self._operations.list_leases(
            caller().organization_id, request.wallet_id, page=page_from_proto(request)
        )
        return pb.ListLeasesResponse(
            leases=[lease_to_proto(lease) for lease in page.leases], next_page_token=page.next_page_token
        )


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
    if "overflow_wallet_id" in paths:
        raise Unimplemented("om.wallet.v1.WalletService/UpdateWallet of overflow_wallet_id")
    if "state" in paths and wallet.state not in _BLOCKED:
        raise InvalidArgument("wallet.state", "only BLOCKED, and ACTIVE to lift the block, can be set")
    limit = money_from_proto(wallet.credit_limit) if wallet.HasField("credit_limit") else None
    if limit is not None and limit.currency != CREDITS:
        raise CurrencyMismatch(limit.currency, CREDITS)
    soft = wallet.mode == pb.WALLET_MODE_SOFT
    return WalletChange(
        mode=(WalletMode.SOFT if soft else WalletMode.STRICT) if "mode" in paths else None,
        credit_limit=(limit.nanos if limit else 0) if "credit_limit" in paths else None,
        blocked=_BLOCKED[wallet.state] if "state" in paths else None,
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


def _expire_time(request: pb.GrantCreditsRequest | pb.PurchaseCreditsRequest) -> int | None:
    if not request.HasField("expire_time"):
        return None
    return timestamp_from_proto(request.expire_time, "expire_time")
