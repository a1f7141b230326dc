"""What happened in an end user's wallet: GET /v1/users/{userId}/transactions and /wallet."""

import asyncio

from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.core.errors import Code, DomainError
from om_server.rest.channel import Server
from om_server.rest.documented.endpoint import Answer
from om_server.rest.documented.figure import exact
from om_server.rest.documented.moment import iso_text
from om_server.rest.documented.page_window import PageWindow, read_window
from om_server.rest.documented.query import Query
from om_server.rest.documented.tenant import wallet_owner
from om_server.rest.request import Request

_BURN = "BURN"
#: The published API knows five types; what is not here is one of them by its sign.
_TYPES = {
    wallet_pb.ENTRY_KIND_PURCHASE: "PURCHASE",
    wallet_pb.ENTRY_KIND_REFUND: "REFUND",
    wallet_pb.ENTRY_KIND_RELEASE: "REFUND",
    wallet_pb.ENTRY_KIND_EXPIRY: "EXPIRATION",
}
_REASONS = {
    wallet_pb.ENTRY_KIND_EXPIRY: "Expired credits",
    wallet_pb.ENTRY_KIND_REPAYMENT: "AI usage credit burn, paid later",
    wallet_pb.ENTRY_KIND_SUSPENSE: "AI usage of unknown cost, set aside",
    wallet_pb.ENTRY_KIND_TRANSFER: "Credit transfer",
}
_USAGE = "AI usage credit burn"


class CreditWalletMissing(DomainError):
    """The user has no wallet; the sentence is the published one."""

    code = Code.NOT_FOUND
    reason = "NOT_FOUND"

    def __init__(self, user_id: str) -> None:
        super().__init__("Credit wallet not found", kind="wallet", id=user_id)


class ListTransactions:
    """One page by limit and offset; a user without a wallet has an empty list."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        query = Query(request.query)
        window = read_window(query)
        owner = wallet_owner("", user_id=request.path_parameters["userId"])
        reply = await self._server.ask(
            self._server.wallet.ListTransactions,
            wallet_pb.ListTransactionsRequest(owner=owner, page_size=window.limit, skip=window.offset),
            context=request.context,
        )
        return Answer(200, transactions_body(reply, window))


class GetUserWallet:
    """What `om.wallets.get` shows; 404 if there is no wallet."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        user_id = request.path_parameters["userId"]
        owner = wallet_owner("", user_id=user_id)
        found, latest = await asyncio.gather(
            self._server.ask(
                self._server.wallet.GetWallet,
                wallet_pb.GetWalletRequest(owner=owner),
                context=request.context,
            ),
            self._server.ask(
                self._server.wallet.ListTransactions,
                wallet_pb.ListTransactionsRequest(owner=owner, page_size=1),
                context=request.context,
            ),
        )
        if not found.wallet.exists:
            raise CreditWalletMissing(user_id)
        return Answer(200, wallet_body(user_id, found.wallet, latest=list(latest.transactions)))


def transactions_body(reply: wallet_pb.ListTransactionsResponse, window: PageWindow) -> dict[str, object]:
    """The published list with its page; amounts are numbers, and what was taken is negative."""
    return {
        "data": [transaction_row(one) for one in reply.transactions],
        "pagination": window.body(reply.total_size),
    }


def transaction_row(transaction: wallet_pb.Transaction) -> dict[str, object]:
    """One line, and beside what was published the event that caused it."""
    return {
        "id": transaction.entry_id,
        "transactionType": transaction_type(transaction),
        "amount": exact(transaction.amount.amount_nanos),
        "balanceBefore": exact(transaction.balance_before.amount_nanos),
        "balanceAfter": exact(transaction.balance_after.amount_nanos),
        "description": reason_of(transaction),
        "createdAt": iso_text(transaction.create_time),
        "eventId": transaction.event_id or None,
    }


def wallet_body(
    user_id: str, wallet: wallet_pb.Wallet, *, latest: list[wallet_pb.Transaction]
) -> dict[str, object]:
    """The documented object, which has no envelope; `latest` is the newest transaction, if there is one."""
    state = wallet_pb.WalletState.Name(wallet.state).removeprefix("WALLET_STATE_")
    last = [
        {
            "amount": exact(one.amount.amount_nanos),
            "reason": reason_of(one),
            "timestamp": iso_text(one.create_time),
        }
        for one in latest
    ]
    return {
        "userId": user_id,
        "balance": exact(wallet.posted.amount_nanos),
        "currency": "CREDITS",
        "status": state,
        "lastTransaction": last[0] if last else None,
    }


def transaction_type(transaction: wallet_pb.Transaction) -> str:
    """The published type; a correction or a transfer is a grant where it gave and a burn where it took."""
    by_sign = _BURN if transaction.amount.amount_nanos < 0 else "GRANT"
    return _TYPES.get(transaction.kind, by_sign)


def reason_of(transaction: wallet_pb.Transaction) -> str | None:
    """What the request said, else what the kind says."""
    if transaction.description:
        return transaction.description
    usual = _USAGE if transaction_type(transaction) == _BURN else None
    return _REASONS.get(transaction.kind, usual)
