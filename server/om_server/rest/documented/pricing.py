"""GET /v1/rating/pricing: the price list, one entry for each model, standard tier, in force now."""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from google.protobuf.timestamp_pb2 import Timestamp

from om.rating.v1 import rating_service_pb2 as pb
from om_server.core.clock import MICROS_PER_SECOND, Clock
from om_server.core.usage import find_unit
from om_server.rest.channel import Server
from om_server.rest.documented.endpoint import Answer
from om_server.rest.documented.query import Query
from om_server.rest.request import CallContext, Request

_PAGE = 200
_STANDARD = "standard"
_MILLION = 1_000_000
#: The published words for what a price is for, and how many whole units it is for.
_COST_TYPES: Mapping[str, tuple[str, int]] = {
    "input_tokens": ("input_token", _MILLION),
    "output_tokens": ("output_token", _MILLION),
    "images": ("image", 1),
    "video_seconds": ("video", 1),
    "audio_seconds": ("audio", 1),
    "requests": ("request", 1),
}


class GetPricing:
    """The whole list: published, it has no pages. `provider` and `model` narrow it."""

    def __init__(self, server: Server, *, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    async def __call__(self, request: Request) -> Answer:
        query = Query(request.query)
        asked = pb.ListPricesRequest(provider=query.text("provider"), model=query.text("model"))
        prices = await prices_at(self._clock(), asked, self._server, context=request.context)
        return Answer(200, pricing_body(prices))


async def prices_at(
    now_us: int, asked: pb.ListPricesRequest, server: Server, *, context: CallContext
) -> list[pb.Price]:
    """Every price that is in force at a time, page by page."""
    seconds, micros = divmod(now_us, MICROS_PER_SECOND)
    asked.at_time.CopyFrom(Timestamp(seconds=seconds, nanos=micros * 1000))
    asked.page_size = _PAGE
    found: list[pb.Price] = []
    while True:
        reply = await server.ask(server.rating.ListPrices, asked, context=context)
        found.extend(reply.prices)
        asked.page_token = reply.next_page_token
        if not asked.page_token:
            return found


def pricing_body(prices: Iterable[pb.Price]) -> dict[str, object]:
    """The published list, by provider and model."""
    rows = model_rows(prices)
    return {"data": rows, "total": len(rows)}


def model_rows(prices: Iterable[pb.Price], *, capitals: bool = False) -> list[dict[str, object]]:
    """One row for each model that has a price of a published type. The sandbox names types in capitals."""
    rows: list[dict[str, object]] = []
    for price in prices:
        if price.tier not in ("", _STANDARD):
            continue
        found = {
            cost_type.upper() if capitals else cost_type: rate for cost_type, rate in _published_rates(price)
        }
        if found:
            rows.append(
                {"provider": price.provider.upper().replace("-", "_"), "model": price.model, "pricing": found}
            )
    return sorted(rows, key=lambda row: (str(row["provider"]), str(row["model"])))


def _published_rates(price: pb.Price) -> Iterator[tuple[str, dict[str, object]]]:
    """Each published type once: the rate without conditions, else the first, and the others as variants."""
    for unit, (cost_type, size) in _COST_TYPES.items():
        rates = [rate for rate in price.rates if rate.unit == unit]
        if not rates:
            continue
        plain = [rate for rate in rates if not rate.attributes and not rate.context_threshold]
        first = (plain or rates)[0]
        shown = _rate_body(first, size, currency=price.currency_code)
        others = [rate for rate in rates if rate is not first]
        if others:
            shown["variants"] = [
                _rate_body(rate, size, currency=price.currency_code) | _conditions(rate) for rate in rates
            ]
        yield cost_type, shown


def _rate_body(rate: pb.PriceRate, size: int, *, currency: str) -> dict[str, object]:
    steps = size * find_unit(rate.unit).step
    cost = Decimal(rate.amount_per_million) * steps / _MILLION
    whole = cost.to_integral_value()
    return {
        "costPerUnit": whole if cost == whole else cost.normalize(),
        "unitSize": size,
        "currency": currency or "USD",
    }


def _conditions(rate: pb.PriceRate) -> dict[str, object]:
    return {"attributes": dict(rate.attributes), "contextThreshold": rate.context_threshold}
