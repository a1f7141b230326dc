"""The sandbox: POST /v1/apiconsole/generate and /topup, GET /v1/apiconsole/pricing.

Closed in production but to keys in test mode, for which nothing is ever charged. A key in test mode shares
its organization's wallets, so that only development may mint credits.
"""

import uuid
from collections.abc import Mapping

from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om.rating.v1 import rating_service_pb2 as rating_pb
from om.type.v1.money_pb2 import Money
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.core.clock import Clock
from om_server.core.errors import Code, DomainError
from om_server.core.ids import KEY_TEST
from om_server.core.money import CREDITS, NANO
from om_server.rest.channel import Server
from om_server.rest.documented.calculation import is_priced
from om_server.rest.documented.endpoint import Answer, Documented, Handler, Wording
from om_server.rest.documented.figure import exact_text
from om_server.rest.documented.idempotency import promised_key
from om_server.rest.documented.json_body import read_json
from om_server.rest.documented.pricing import model_rows, prices_at
from om_server.rest.documented.sandbox_call import read_call
from om_server.rest.request import CallContext, Endpoint, Request

_DEVELOPMENT = "development"
_TOP_UP = 10_000 * NANO


class SandboxClosed(DomainError):
    """The sandbox is for development and for keys in test mode."""

    code = Code.PERMISSION_DENIED
    reason = "ACCESS_DENIED"

    def __init__(self, who: str) -> None:
        super().__init__(f"The sandbox is not available here: it is for {who}")


class SandboxUnfunded(DomainError):
    """The wallet is empty; the sentence is the published one."""

    code = Code.FAILED_PRECONDITION
    reason = "INSUFFICIENT_FUNDS"

    def __init__(self) -> None:
        super().__init__("Insufficient credits. Please top up your wallet to continue using the sandbox.")


class Gate:
    """Tells who may use the sandbox."""

    def __init__(self, environment: str, server: Server) -> None:
        self._open = environment == _DEVELOPMENT
        self._server = server

    async def admit(self, context: CallContext) -> None:
        """SandboxClosed unless this is development or the key is in test mode."""
        if not self._open and not context.credential.startswith(KEY_TEST):
            await self._server.confirm_credential(context)
            raise SandboxClosed("development, and for keys in test mode")

    async def admit_minting(self, context: CallContext) -> None:
        """SandboxClosed unless this is development."""
        if not self._open:
            await self._server.confirm_credential(context)
            raise SandboxClosed("development, where credits are not worth anything")


class Generate:
    """Simulates a call: rated at its true price, and reported as an event of the sandbox."""

    def __init__(self, server: Server, gate: Gate, *, clock: Clock) -> None:
        self._server = server
        self._gate = gate
        self._clock = clock

    async def __call__(self, request: Request) -> Answer:
        context = request.context
        await self._gate.admit(context)
        body = await read_json(request)
        call = read_call(body)
        body.check()
        await self._require_funds(context)
        asked = rating_pb.RateUsageRequest(lines=[call.line])
        rated = await self._server.ask(self._server.rating.RateUsage, asked, context=context)
        if not is_priced(rated.rating):
            name = f"{call.line.provider.upper()}/{call.line.model} (Type: {call.kind})"
            message = f"No cost data found for {name}"
            return Answer(404, {"error": "PROVIDER_NOT_FOUND", "message": message})
        event_id = f"chatcmpl-{uuid.uuid4()}"
        report = ingestion_pb.IngestEventsRequest(events=[call.event(event_id)])
        await self._server.ask(self._server.ingestion.IngestEvents, report, context=context)
        return Answer(200, call.body(event_id, rated.rating, now_us=self._clock()))

    async def _require_funds(self, context: CallContext) -> None:
        asked = wallet_pb.GetWalletRequest()
        reply = await self._server.ask(self._server.wallet.GetWallet, asked, context=context)
        if reply.wallet.available.amount_nanos <= 0:
            raise SandboxUnfunded


class GetSandboxPricing:
    """The price list, with its types in capitals."""

    def __init__(self, server: Server, gate: Gate, *, clock: Clock) -> None:
        self._server = server
        self._gate = gate
        self._clock = clock

    async def __call__(self, request: Request) -> Answer:
        await self._gate.admit(request.context)
        asked = rating_pb.ListPricesRequest()
        prices = await prices_at(self._clock(), asked, self._server, context=request.context)
        return Answer(200, {"data": model_rows(prices, capitals=True)})


class TopUp:
    """Gives the organization's own wallet credits."""

    def __init__(self, server: Server, gate: Gate) -> None:
        self._server = server
        self._gate = gate

    async def __call__(self, request: Request) -> Answer:
        await self._gate.admit_minting(request.context)
        body = await read_json(request, required=False)
        amount = body.nanos("amount", above=0)
        key = promised_key(request, body)
        body.check()
        asked = wallet_pb.PurchaseCreditsRequest(
            amount=Money(currency_code=CREDITS, amount_nanos=_TOP_UP if amount is None else amount),
            description="Sandbox Top-Up",
            idempotency_key=key,
        )
        reply = await self._server.ask(self._server.wallet.PurchaseCredits, asked, context=request.context)
        return Answer(200, {"success": True, "newBalance": exact_text(reply.wallet.posted.amount_nanos)})


def operations(server: Server, *, clock: Clock, environment: str) -> Mapping[str, Endpoint]:
    """Name the operations of this family."""

    def documented(handler: Handler, failure: str) -> Documented:
        return Documented(handler, server, wording=Wording(f"Failed to {failure}"))

    gate = Gate(environment, server)
    generate = documented(Generate(server, gate, clock=clock), "generate")
    pricing = GetSandboxPricing(server, gate, clock=clock)
    return {
        "generateInSandbox": generate,
        "generateDemo": generate,
        "getSandboxPricing": documented(pricing, "fetch pricing"),
        "topUpSandbox": documented(TopUp(server, gate), "top up wallet"),
    }
