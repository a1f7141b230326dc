"""POST /v1/rating/calculate and /bulk: what a usage would cost and be charged, as settlement charges it."""

import asyncio
from collections.abc import Mapping

from om.rating.v1 import rating_service_pb2 as pb
from om.type.v1 import usage_pb2
from om.type.v1.event_pb2 import UsageLine
from om_server.core.clock import Clock
from om_server.core.usage import SECONDS_STEP
from om_server.rest.channel import Server
from om_server.rest.documented.calculation import Calculation, calculation_body, is_priced
from om_server.rest.documented.customer_label import customer_label
from om_server.rest.documented.endpoint import Answer, Documented, Wording
from om_server.rest.documented.json_body import JsonBody, read_json
from om_server.rest.documented.pricing import GetPricing
from om_server.rest.documented.tenant import names_organization, published_id
from om_server.rest.request import CallContext, Endpoint, Request

_BULK_MAX = 100
_TYPES = ("text", "image", "video")


class Calculate:
    """Rates one usage; 404 where it has no price."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        body = await read_json(request)
        asked = read_calculation(body)
        customer_id, feature_id = body.text("customerId"), body.text("featureId")
        body.check()
        label = await customer_label(customer_id, self._server, context=request.context)
        asked.request.attribution.customer_id = label
        asked.request.attribution.feature_id = feature_id
        rating = await rated(asked, self._server, context=request.context)
        if not is_priced(rating):
            return _not_priced(asked)
        return Answer(200, calculation_body(rating))


class CalculateBulk:
    """Rates several usages, each as an event of its own; 404 where any has no price."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        body = await read_json(request)
        asked = [_read_item(item) for item in body.bodies("calculations", most=_BULK_MAX)]
        customer_id = body.text("customerId")
        body.check()
        caller = await self._server.caller(request.context)
        own = names_organization(customer_id, caller.organization_id)
        for one in asked:
            one.request.attribution.customer_id = "" if own else customer_id
        ratings = await asyncio.gather(*(rated(one, self._server, context=request.context) for one in asked))
        for one, rating in zip(asked, ratings, strict=True):
            if not is_priced(rating):
                return _not_priced(one)
        results = [calculation_body(rating) for rating in ratings]
        shown = published_id(caller.organization_id) if own else customer_id
        return Answer(200, {"customerId": shown, "results": results, "total": len(results)})


async def rated(asked: Calculation, server: Server, *, context: CallContext) -> pb.Rating:
    """Ask for the rating of one usage."""
    reply = await server.ask(server.rating.RateUsage, asked.request, context=context)
    return reply.rating


def read_calculation(body: JsonBody) -> Calculation:
    """One usage: tokens in and out, images, or seconds of video. Problems are noted in the body."""
    kind = body.choice("type", {name: name for name in _TYPES}) or "text"
    line = UsageLine(
        provider=body.text("provider", required=True, least=1, most=128),
        model=body.text("model", required=True, least=1),
    )
    count = body.integer("count", least=1)
    if kind == "text":
        _add(line, "input_tokens", body.integer("inputTokens", least=0) or 0)
        _add(line, "output_tokens", body.integer("outputTokens", least=0) or 0)
    elif kind == "image":
        _add(line, "images", 1 if count is None else count)
        for name, attribute in (("imageSize", "size"), ("size", "size"), ("quality", "quality")):
            if value := body.text(name):
                line.attributes[attribute] = value
    else:
        _add(line, "video_seconds", _video_steps(body, count or 1))
    return Calculation(pb.RateUsageRequest(lines=[line]), kind)


def _read_item(body: JsonBody) -> Calculation:
    """One usage of several, which names both its numbers of tokens."""
    asked = read_calculation(body)
    for name in ("inputTokens", "outputTokens") if asked.kind == "text" else ():
        if not body.given(name):
            body.refuse(name, "Invalid input: expected number, received undefined")
    return asked


def _video_steps(body: JsonBody, count: int) -> int:
    """So many videos of so many seconds; without a length, `count` is the seconds, as it was published."""
    seconds = body.number("durationSeconds", above=0)
    steps = count * SECONDS_STEP if seconds is None else round(seconds * SECONDS_STEP) * count
    if steps > 2**53:
        body.refuse("durationSeconds", f"Too big: expected number to be <={2**53 // SECONDS_STEP}")
        return 0
    return steps


def _add(line: UsageLine, unit: str, amount: int) -> None:
    line.usage.quantities.add(unit=unit, amount=amount, certainty=usage_pb2.CERTAINTY_MEASURED)


def _not_priced(asked: Calculation) -> Answer:
    (line,) = asked.request.lines
    message = f"No cost data found for {line.provider.upper()}/{line.model} (Type: {asked.kind})"
    return Answer(404, {"error": "PROVIDER_NOT_FOUND", "message": message})


def operations(server: Server, *, clock: Clock) -> Mapping[str, Endpoint]:
    """Name the operations of this family."""
    cost = Wording("Failed to calculate cost", plain_bad_request=True)
    costs = Wording("Failed to calculate bulk costs", plain_bad_request=True)
    pricing = Wording("Failed to proxy request to rating service")
    return {
        "calculateCost": Documented(Calculate(server), server, wording=cost),
        "calculateBulkCosts": Documented(CalculateBulk(server), server, wording=costs),
        "getPricing": Documented(GetPricing(server, clock=clock), server, wording=pricing),
    }
