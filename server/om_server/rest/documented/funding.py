"""POST /v1/credits/purchase, /v1/credits/grant and /v1/credits/deduct: each once for its idempotency key."""

from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.core.errors import Code, DomainError
from om_server.rest.channel import Server
from om_server.rest.documented.credit_request import read_deduction, read_grant, read_purchase
from om_server.rest.documented.endpoint import Answer
from om_server.rest.documented.figure import exact, exact_text
from om_server.rest.documented.idempotency import promised_key
from om_server.rest.documented.json_body import read_json
from om_server.rest.request import Request


class CustomerWalletMissing(DomainError):
    """There is no wallet to deduct from; the sentence is the published one."""

    code = Code.NOT_FOUND
    reason = "NOT_FOUND"

    def __init__(self, customer_id: str) -> None:
        super().__init__(f"Credit wallet not found for customer {customer_id}", kind="wallet", id=customer_id)


class PurchaseCredits:
    """Adds credits that were paid for elsewhere to an end user's wallet."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        body = await read_json(request)
        purchase = read_purchase(body, key=promised_key(request, body))
        reply = await self._server.ask(self._server.wallet.PurchaseCredits, purchase, context=request.context)
        return Answer(200, purchase_body(reply))


class GrantCredits:
    """Adds credits that nobody paid for."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        body = await read_json(request)
        caller = await self._server.caller(request.context)
        grant = read_grant(body, key=promised_key(request, body), organization_id=caller.organization_id)
        reply = await self._server.ask(self._server.wallet.GrantCredits, grant, context=request.context)
        return Answer(200, grant_body(reply))


class DeductCredits:
    """Takes credits from a wallet that must exist; nothing if it has too few."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        body = await read_json(request)
        caller = await self._server.caller(request.context)
        deduction = read_deduction(
            body, key=promised_key(request, body), organization_id=caller.organization_id
        )
        found = await self._server.ask(
            self._server.wallet.GetWallet,
            wallet_pb.GetWalletRequest(owner=deduction.owner),
            context=request.context,
        )
        if not found.wallet.exists:
            raise CustomerWalletMissing(deduction.owner.id or caller.organization_id)
        reply = await self._server.ask(self._server.wallet.DeductCredits, deduction, context=request.context)
        return Answer(200, deduction_body(reply))


def purchase_body(reply: wallet_pb.PurchaseCreditsResponse) -> dict[str, object]:
    """The new balance as a number."""
    balance = exact(reply.wallet.posted.amount_nanos)
    return {"data": {"transactionId": reply.entry.entry_id, "newBalance": balance}}


def grant_body(reply: wallet_pb.GrantCreditsResponse) -> dict[str, object]:
    """The new balance and the amount as text."""
    return {
        "data": {
            "transactionId": reply.entry.entry_id,
            "walletId": reply.wallet.wallet_id,
            "newBalance": exact_text(reply.wallet.posted.amount_nanos),
            "amount": exact_text(reply.entry.amount.amount_nanos),
        }
    }


def deduction_body(reply: wallet_pb.DeductCreditsResponse) -> dict[str, object]:
    """What is left, as text. Several grants may have paid: the first payment names the transaction."""
    return {
        "success": True,
        "remainingBalance": exact_text(reply.wallet.posted.amount_nanos),
        "transactionId": reply.entries[0].entry_id,
    }
