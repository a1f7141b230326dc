"""What purchases, grants and deductions ask for: their bodies as requests of the contract."""

from om.type.v1.money_pb2 import Money
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.core.money import CREDITS, USD
from om_server.rest.documented.figure import exact_text
from om_server.rest.documented.json_body import JsonBody
from om_server.rest.documented.moment import write_timestamp
from om_server.rest.documented.tenant import wallet_owner

_TEXT_MAX = 1000


def read_purchase(body: JsonBody, *, key: str) -> wallet_pb.PurchaseCreditsRequest:
    """Credits for an end user that were paid for elsewhere; the price is in dollars."""
    user_id = body.text("userId", required=True, least=1)
    amount = body.nanos("amount", required=True, above=0) or 0
    price = body.nanos("purchasePrice", required=True, above=0) or 0
    request = wallet_pb.PurchaseCreditsRequest(
        owner=wallet_owner("", user_id=user_id),
        amount=Money(currency_code=CREDITS, amount_nanos=amount),
        price=Money(currency_code=USD, amount_nanos=price),
        description=f"Credit purchase: {exact_text(amount)} credits",
    )
    _read_expiry(body, request)
    request.idempotency_key = key
    body.check()
    return request


def read_grant(body: JsonBody, *, key: str, organization_id: str) -> wallet_pb.GrantCreditsRequest:
    """Credits that nobody paid for: for a user, else a team, else a customer, else the organization."""
    owner = wallet_owner(
        organization_id,
        user_id=body.text("userId", least=1),
        team_id=body.text("teamId", least=1),
        customer_id=body.text("customerId"),
    )
    amount = body.nanos("amount", required=True, least=1) or 0
    reason = body.text("reason", most=_TEXT_MAX)
    # As published it must be an object; the ledger keeps the reason alone.
    body.mapping("metadata")
    request = wallet_pb.GrantCreditsRequest(
        owner=owner,
        amount=Money(currency_code=CREDITS, amount_nanos=amount),
        description=reason or f"Credit grant: {exact_text(amount)} credits",
    )
    _read_expiry(body, request)
    request.idempotency_key = key
    body.check()
    return request


def read_deduction(body: JsonBody, *, key: str, organization_id: str) -> wallet_pb.DeductCreditsRequest:
    """Credits that something cost which was not metered, from a customer's wallet or the organization's."""
    owner = wallet_owner(organization_id, customer_id=body.text("customerId"))
    amount = body.nanos("amount", required=True, above=0) or 0
    description = body.text("description", most=_TEXT_MAX)
    body.mapping("metadata")
    request = wallet_pb.DeductCreditsRequest(
        owner=owner,
        amount=Money(currency_code=CREDITS, amount_nanos=amount),
        description=description or "Usage deduction",
    )
    request.idempotency_key = key
    body.check()
    return request


def _read_expiry(
    body: JsonBody, request: wallet_pb.PurchaseCreditsRequest | wallet_pb.GrantCreditsRequest
) -> None:
    if (expires := body.moment("expiresAt")) is not None:
        write_timestamp(expires, request.expire_time)
