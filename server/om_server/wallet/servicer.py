"""WalletService on the wire."""

import grpc

from om.wallet.v1 import wallet_service_pb2 as pb
from om.wallet.v1 import wallet_service_pb2_grpc
from om_server.rpc.caller import caller
from om_server.rpc.convert import money_from_proto, page_from_proto
from om_server.wallet.funding import (
    Adjustment,
    Deduction,
    Deposit,
    Refund,
    Transfer,
    credits_of,
    signed_credits_of,
)
from om_server.wallet.grant import PRIORITY_DEFAULT
from om_server.wallet.holds.hold import HoldRequest
from om_server.wallet.holds.suspense import Decision
from om_server.wallet.operations import WalletOperations
from om_server.wallet.wire import (
    amount_of,
    change_from_proto,
    charge_of,
    entry_to_proto,
    expire_time_of,
    grant_to_proto,
    hold_to_proto,
    lease_to_proto,
    owner_from_proto,
    owner_kind_from_proto,
    report_to_proto,
    suspense_to_proto,
    transaction_to_proto,
    wallet_to_proto,
)

#: Where an event comes from unless it says so.
_SOURCE_DEFAULT = "api"


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
            owner_ids=request.owner_ids,
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
                expire_time=expire_time_of(request),
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
                expire_time=expire_time_of(request),
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

    def RefundCharge(
        self, request: pb.RefundChargeRequest, context: grpc.ServicerContext
    ) -> pb.RefundChargeResponse:
        receipt = self._operations.refund_charge(
            caller().organization_id,
            Refund(
                source=request.source or _SOURCE_DEFAULT,
                event_id=request.event_id,
                idempotency_key=request.idempotency_key,
                amount=amount_of(request),
                description=request.description,
            ),
        )
        return pb.RefundChargeResponse(
            wallet=wallet_to_proto(receipt.wallet),
            entries=[entry_to_proto(entry) for entry in receipt.entries],
            replayed=receipt.replayed,
        )

    def TransferCredits(
        self, request: pb.TransferCreditsRequest, context: grpc.ServicerContext
    ) -> pb.TransferCreditsResponse:
        receipt = self._operations.transfer_credits(
            caller().organization_id,
            Transfer(
                source_wallet_id=request.source_wallet_id,
                target_wallet_id=request.target_wallet_id,
                amount=credits_of(money_from_proto(request.amount)),
                idempotency_key=request.idempotency_key,
                description=request.description,
            ),
        )
        return pb.TransferCreditsResponse(
            source_wallet=wallet_to_proto(receipt.wallet),
            target_wallet=wallet_to_proto(receipt.target) if receipt.target else None,
            replayed=receipt.replayed,
        )

    def AdjustWallet(
        self, request: pb.AdjustWalletRequest, context: grpc.ServicerContext
    ) -> pb.AdjustWalletResponse:
        receipt = self._operations.adjust_wallet(
            caller().organization_id,
            Adjustment(
                wallet_id=request.wallet_id,
                amount=signed_credits_of(money_from_proto(request.amount)),
                idempotency_key=request.idempotency_key,
                description=request.description,
            ),
        )
        return pb.AdjustWalletResponse(
            wallet=wallet_to_proto(receipt.wallet),
            entries=[entry_to_proto(entry) for entry in receipt.entries],
            replayed=receipt.replayed,
        )

    def CreateHold(
        self, request: pb.CreateHoldRequest, context: grpc.ServicerContext
    ) -> pb.CreateHoldResponse:
        receipt = self._operations.create_hold(
            caller().organization_id,
            HoldRequest(
                wallet_id=request.wallet_id,
                amount=credits_of(money_from_proto(request.amount)),
                idempotency_key=request.idempotency_key,
                expire_time=expire_time_of(request),
            ),
        )
        return pb.CreateHoldResponse(
            hold=hold_to_proto(receipt.hold) if receipt.hold else None, replayed=receipt.replayed
        )

    def CaptureHold(
        self, request: pb.CaptureHoldRequest, context: grpc.ServicerContext
    ) -> pb.CaptureHoldResponse:
        hold = self._operations.capture_hold(
            caller().organization_id, request.hold_id, amount=amount_of(request)
        )
        return pb.CaptureHoldResponse(hold=hold_to_proto(hold))

    def ReleaseHold(
        self, request: pb.ReleaseHoldRequest, context: grpc.ServicerContext
    ) -> pb.ReleaseHoldResponse:
        hold = self._operations.release_hold(caller().organization_id, request.hold_id)
        return pb.ReleaseHoldResponse(hold=hold_to_proto(hold))

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

    def ListTransactions(
        self, request: pb.ListTransactionsRequest, context: grpc.ServicerContext
    ) -> pb.ListTransactionsResponse:
        organization_id = caller().organization_id
        owner = pb.WalletOwner() if request.wallet_id else request.owner
        page = self._operations.list_transactions(
            organization_id,
            owner=owner_from_proto(owner, organization_id),
            wallet_id=request.wallet_id,
            page=page_from_proto(request, skip=request.skip),
        )
        return pb.ListTransactionsResponse(
            transactions=[transaction_to_proto(one) for one in page.transactions],
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

    def ResolveLease(
        self, request: pb.ResolveLeaseRequest, context: grpc.ServicerContext
    ) -> pb.ResolveLeaseResponse:
        who = caller()
        lease = self._operations.resolve_lease(
            who.organization_id, request.lease_id, decision=Decision(who.member_id, request.reason)
        )
        return pb.ResolveLeaseResponse(lease=lease_to_proto(lease))

    def ListSuspense(
        self, request: pb.ListSuspenseRequest, context: grpc.ServicerContext
    ) -> pb.ListSuspenseResponse:
        page = self._operations.list_suspense(caller().organization_id, page=page_from_proto(request))
        return pb.ListSuspenseResponse(
            suspense=[suspense_to_proto(one) for one in page.suspense], next_page_token=page.next_page_token
        )

    def ReleaseSuspense(
        self, request: pb.ReleaseSuspenseRequest, context: grpc.ServicerContext
    ) -> pb.ReleaseSuspenseResponse:
        who = caller()
        wallet = self._operations.release_suspense(
            who.organization_id,
            request.suspense_id,
            charge=charge_of(request),
            decision=Decision(who.member_id, request.reason),
        )
        return pb.ReleaseSuspenseResponse(wallet=wallet_to_proto(wallet))

    def VerifyLedger(
        self, request: pb.VerifyLedgerRequest, context: grpc.ServicerContext
    ) -> pb.VerifyLedgerResponse:
        report = self._operations.verify(caller().organization_id, wallet_id=request.wallet_id)
        return report_to_proto(report)
