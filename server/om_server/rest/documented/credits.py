"""Credits: what a wallet has, and by their modules what happened in it and what changes it."""

from collections.abc import Mapping

from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.rest.channel import Server
from om_server.rest.documented.endpoint import Answer, Documented, Wording
from om_server.rest.documented.figure import exact, exact_text
from om_server.rest.documented.funding import DeductCredits, GrantCredits, PurchaseCredits
from om_server.rest.documented.moment import iso_text
from om_server.rest.documented.statement import CreditWalletMissing, GetUserWallet, ListTransactions
from om_server.rest.request import Endpoint, Request


class GetBalance:
    """The organization's own wallet. One that was never funded is empty, not missing."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        owner = wallet_pb.WalletOwner(kind=wallet_pb.OWNER_KIND_ORGANIZATION)
        reply = await self._server.ask(
            self._server.wallet.GetWallet, wallet_pb.GetWalletRequest(owner=owner), context=request.context
        )
        return Answer(200, balance_body(reply.wallet))


class GetUserCredits:
    """The wallet of one end user; 404 if there is none."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        user_id = request.path_parameters["userId"]
        owner = wallet_pb.WalletOwner(kind=wallet_pb.OWNER_KIND_USER, id=user_id)
        reply = await self._server.ask(
            self._server.wallet.GetWallet, wallet_pb.GetWalletRequest(owner=owner), context=request.context
        )
        if not reply.wallet.exists:
            raise CreditWalletMissing(user_id)
        return Answer(200, user_credits_body(reply.wallet))


def balance_body(wallet: wallet_pb.Wallet) -> dict[str, object]:
    """Amounts as text, as the published clients expect them here."""
    return {
        "data": {
            "balance": exact_text(wallet.posted.amount_nanos),
            "reservedBalance": exact_text(wallet.held.amount_nanos),
            "availableBalance": exact_text(wallet.available.amount_nanos),
            "currency": "credits",
        }
    }


def user_credits_body(wallet: wallet_pb.Wallet) -> dict[str, object]:
    """Amounts as numbers, as the published clients expect them here."""
    expires = iso_text(wallet.next_expire_time) if wallet.HasField("next_expire_time") else None
    return {
        "data": {
            "balance": exact(wallet.posted.amount_nanos),
            "reserved": exact(wallet.held.amount_nanos),
            "available": exact(wallet.available.amount_nanos),
            "expiresAt": expires,
        }
    }


def operations(server: Server) -> Mapping[str, Endpoint]:
    """Name the operations of this family."""
    balance = Wording("Failed to fetch credit balance")
    history = Wording("Failed to fetch transaction history")
    deducting = Wording(
        "Failed to deduct credits", bare=True, sentences={"INSUFFICIENT_FUNDS": "Insufficient credits"}
    )
    user_credits = Documented(GetUserCredits(server), server, wording=balance)
    transactions = Documented(ListTransactions(server), server, wording=history)
    return {
        "getCreditBalance": Documented(GetBalance(server), server, wording=balance),
        "getUserCredits": user_credits,
        "getCustomerUserCredits": user_credits,
        "listTransactions": transactions,
        "listCustomerUserTransactions": transactions,
        "getUserWallet": Documented(GetUserWallet(server), server, wording=balance),
        "purchaseCredits": Documented(
            PurchaseCredits(server), server, wording=Wording("Failed to purchase credits")
        ),
        "grantCredits": Documented(GrantCredits(server), server, wording=Wording("Failed to grant credits")),
        "deductCredits": Documented(DeductCredits(server), server, wording=deducting),
    }
