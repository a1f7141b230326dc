"""POST /v1/entitlements/check: whether an action may be done now. Allowed and refused are both 200."""

from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal

from om.type.v1 import usage_pb2
from om.type.v1.error_reason_pb2 import ErrorReason
from om.type.v1.event_pb2 import Attribution, UsageLine
from om.wallet.v1 import entitlement_service_pb2 as pb
from om_server.core.usage import SECONDS_STEP
from om_server.rest.channel import Server
from om_server.rest.documented.customer_label import customer_label
from om_server.rest.documented.endpoint import Answer
from om_server.rest.documented.entitlement_row import all_entitlements, limit_value
from om_server.rest.documented.figure import exact
from om_server.rest.documented.json_body import JsonBody, read_json
from om_server.rest.request import Request

_TOKENS, _IMAGES, _VIDEO = "token_usage", "image_generation", "video_generation"
#: Each action type with the word that the published sentence of a missing price has for it.
_TYPES = {_TOKENS: "text", _IMAGES: "image", _VIDEO: "video", "api_call": "text", "custom": "text"}
_LIMIT = ErrorReason.ERROR_REASON_LIMIT_REACHED
_FUNDS = ErrorReason.ERROR_REASON_INSUFFICIENT_FUNDS
_USER_WALLET = ErrorReason.ERROR_REASON_USER_WALLET_REQUIRED
_UNPRICED = ErrorReason.ERROR_REASON_PRICE_UNKNOWN

_PURCHASE = {"type": "purchase", "label": "Purchase Credits", "url": "/credits/purchase"}
_UPGRADE = {"type": "upgrade", "label": "Increase Limit", "url": "/upgrade"}
_CREATE_WALLET = {"type": "create_wallet", "label": "Create Credit Wallet", "url": "/credits/wallet"}
_ACTIONS = {_LIMIT: [_UPGRADE], _FUNDS: [_PURCHASE], _USER_WALLET: [_CREATE_WALLET]}


class CheckEntitlement:
    """Asks admission, over the path that calls take; the number of a limit that decided is read too."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        body = await read_json(request)
        asked, sentence = read_check(body)
        label = await customer_label(asked.attribution.customer_id, self._server, context=request.context)
        asked.attribution.customer_id = label
        ask = self._server.ask
        reply = await ask(self._server.entitlements.CheckEntitlement, asked, context=request.context)
        limit = None
        if reply.entitlement_id:
            found = await all_entitlements(self._server, context=request.context)
            limit = next((one for one in found if one.entitlement_id == reply.entitlement_id), None)
        return Answer(200, check_body(reply, limit, unpriced=sentence))


def read_check(body: JsonBody) -> tuple[pb.CheckEntitlementRequest, str]:
    """The question, and the published sentence for the case that its model has no price."""
    attribution = Attribution(
        user_id=body.text("userId", required=True, least=1),
        feature_id=body.text("featureId", required=True),
        customer_id=body.text("customerId"),
    )
    action = body.nested("action")
    kind = action.choice("type", {name: name for name in _TYPES}, required=True) or _TOKENS
    provider, model = action.text("provider", most=128), action.text("model")
    quantities = list(_estimated(action, kind))
    asked = pb.CheckEntitlementRequest(attribution=attribution)
    # As published, an estimate needs both names. Without one the question is whether anything is left.
    if quantities and provider and model:
        attributes = {"size": action.text("imageSize"), "quality": action.text("quality")}
        asked.lines.append(
            UsageLine(
                provider=provider,
                model=model,
                usage=usage_pb2.Usage(quantities=quantities),
                attributes={name: value for name, value in attributes.items() if value},
            )
        )
    body.check()
    return asked, f"No cost data found for {provider.upper()}/{model} (Type: {_TYPES[kind]})"


def _estimated(action: JsonBody, kind: str) -> Iterator[usage_pb2.Quantity]:
    if kind == _TOKENS:
        yield from _quantity("input_tokens", _steps(action, "estimatedInputTokens"))
        yield from _quantity("output_tokens", _steps(action, "estimatedOutputTokens"))
    elif kind == _IMAGES:
        # As published: one image where no count is estimated.
        count = _steps(action, "estimatedCount") if action.given("estimatedCount") else 1
        yield from _quantity("images", count)
    elif kind == _VIDEO:
        length = _steps(action, "estimatedDurationSeconds", step=SECONDS_STEP)
        yield from _quantity("video_seconds", length)


def _steps(action: JsonBody, name: str, *, step: int = 1) -> int | None:
    """An estimate in steps of its unit, rounded up."""
    number = action.number(name, least=0)
    if number is None:
        return None
    steps = int((number * step).to_integral_value(ROUND_CEILING))
    if steps > 2**53:
        action.refuse(name, f"Too big: expected number to be <={2**53 // step}")
        return None
    return steps


def _quantity(unit: str, amount: int | None) -> Iterator[usage_pb2.Quantity]:
    if amount is not None:
        yield usage_pb2.Quantity(unit=unit, amount=amount, certainty=usage_pb2.CERTAINTY_ESTIMATED)


def check_body(
    reply: pb.CheckEntitlementResponse, limit: pb.Entitlement | None, *, unpriced: str
) -> dict[str, object]:
    """The published answer. What is not known is null; what is known to cost nothing is 0."""
    charge = exact(reply.estimated_charge.amount_nanos) if reply.HasField("estimated_charge") else None
    cost = exact(reply.estimated_cost.amount_nanos) if reply.HasField("estimated_cost") else None
    available = exact(reply.available.amount_nanos) if reply.HasField("available") else None
    low = reply.allowed and _low(charge, available)
    actions = [_PURCHASE] if low else []
    if not reply.allowed:
        actions = _ACTIONS.get(reply.reason, [])
    return {
        "allowed": reply.allowed,
        "reason": _reason(reply, limit, unpriced=unpriced, low=low),
        "estimatedCostCredits": charge,
        "estimatedCostUsd": cost,
        "currentBalance": available,
        "actions": actions,
    }


def _low(charge: Decimal | None, available: Decimal | None) -> bool:
    return charge is not None and available is not None and available < charge


def _reason(
    reply: pb.CheckEntitlementResponse, limit: pb.Entitlement | None, *, unpriced: str, low: bool
) -> str | None:
    if reply.reason == _LIMIT:
        return _limit_sentence(limit) + (" (soft limit)" if reply.allowed else "")
    if low:
        return "Low credits - consider purchasing more"
    sentences = {
        _FUNDS: "Insufficient credits",
        _USER_WALLET: "No credit wallet found",
        _UNPRICED: unpriced,
    }
    return sentences.get(reply.reason) or reply.message or None


def _limit_sentence(limit: pb.Entitlement | None) -> str:
    number = limit_value(limit) if limit is not None else None
    # The limit may have been deleted since it decided.
    return "Usage limit reached" if number is None else f"Usage limit of {number:f} reached"
