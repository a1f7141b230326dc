"""The published answer about one usage: credits, what each side of it costs, and the margin."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from om.rating.v1 import rating_service_pb2 as pb
from om_server.core.money import CREDITS, USD
from om_server.core.usage import find_unit
from om_server.rest.documented.consumption import is_output
from om_server.rest.documented.figure import exact
from om_server.rest.documented.margin import Margin

DEFAULT_TABLE = "default"


@dataclass(frozen=True, slots=True)
class Calculation:
    """A question to rating, and the published word for what it is about: text, image or video."""

    request: pb.RateUsageRequest
    kind: str


def is_priced(rating: pb.Rating) -> bool:
    """Whether the usage has a charge. A usage of nothing costs nothing only where a price is known."""
    return rating.HasField("charge") and all(
        line.price_version or any(part.currency_code == CREDITS for part in line.components)
        for line in rating.lines
    )


def calculation_body(rating: pb.Rating) -> dict[str, object]:
    """The published body of a rating that has a charge; what needs a cost is null where there is none.

    `cost`, `currency` and three totals in `costBreakdown` are what clients name beside it.
    """
    (line,) = rating.lines
    margin = Margin(rating.charge.amount_nanos, rating.cost.amount_nanos)
    known = rating.HasField("cost")
    cost = exact(rating.cost.amount_nanos) if known else None
    sides = {name: _Side.of(line, output=name == "output") for name in ("input", "output")}
    return {
        "credits": exact(rating.charge.amount_nanos),
        "costBreakdown": {
            **{name: side.body() for name, side in sides.items()},
            "inputCostUsd": sides["input"].usd,
            "outputCostUsd": sides["output"].usd,
            "totalCostUsd": cost,
        },
        "providerCostUsd": cost,
        "revenueUsd": margin.revenue,
        "marginUsd": margin.amount if known else None,
        "marginPercent": margin.percent if known else None,
        "pricingSource": DEFAULT_TABLE
        if rating.burn_table_version == DEFAULT_TABLE
        else "customer_burn_table",
        "cost": cost,
        "currency": USD,
    }


@dataclass(frozen=True, slots=True)
class _Side:
    """What goes in, or what comes out. Images and video are on the side of the input, as published."""

    amount: Decimal
    credits: Decimal
    usd: Decimal | None
    rate: Decimal | None
    unit_size: Decimal | None

    @classmethod
    def of(cls, line: pb.RatedLine, *, output: bool) -> "_Side":
        parts = [part for part in line.components if is_output(part.unit) is output]
        costs = [part for part in parts if part.currency_code != CREDITS]
        charges = [part for part in parts if part.currency_code == CREDITS]
        # A usage is known to cost nothing where it has a price and no product.
        usd = _total(costs) if line.price_version else None
        markup = Decimal(line.credits_per_cost or 0)
        counted = costs or charges
        first = costs[0] if costs else None
        return cls(
            amount=sum((_whole(part.unit, part.amount) for part in counted), Decimal(0)),
            credits=_plain((usd or Decimal(0)) * markup + _total(charges)),
            usd=usd,
            rate=_plain(Decimal(first.rate)) if first else None,
            unit_size=_whole(first.unit, first.rate_steps) if first else None,
        )

    def body(self) -> dict[str, object]:
        return {
            "tokens": self.amount,
            "credits": self.credits,
            "usd": self.usd,
            "ratePerUnit": self.rate,
            "unitSize": self.unit_size,
        }


def _total(parts: Iterable[pb.RatedComponent]) -> Decimal:
    return _plain(sum((Decimal(part.exact_amount) for part in parts), Decimal(0)))


def _whole(unit: str, steps: int) -> Decimal:
    return _plain(Decimal(steps) / find_unit(unit).step)


def _plain(value: Decimal) -> Decimal:
    return value.to_integral_value() if value == value.to_integral_value() else value.normalize()
