from decimal import Decimal

import pytest

from om.rating.v1 import rating_service_pb2 as pb
from om.type.v1.money_pb2 import Money
from om_server.rest.documented.calculation import calculation_body, is_priced
from om_server.rest.documented.margin import Margin, fixed


def part(unit: str, amount: int, *, rate: str, exact: str, currency: str = "USD") -> pb.RatedComponent:
    return pb.RatedComponent(
        unit=unit, amount=amount, rate=rate, rate_steps=1_000_000, exact_amount=exact, currency_code=currency
    )


TOKENS = pb.Rating(
    cost=Money(amount_nanos=7_500_000),
    charge=Money(amount_nanos=15_000_000_000),
    burn_table_version="brn_1",
    lines=[
        pb.RatedLine(
            price_version="p1",
            credits_per_cost="2000",
            components=[
                part("input_tokens", 1000, rate="2.5", exact="0.0025"),
                part("output_tokens", 500, rate="10", exact="0.005"),
            ],
        )
    ],
)


def test_a_calculation_has_the_published_shape_and_what_clients_name_beside_it() -> None:
    assert calculation_body(TOKENS) == {
        "credits": 15,
        "costBreakdown": {
            "input": {
                "tokens": 1000,
                "credits": 5,
                "usd": Decimal("0.0025"),
                "ratePerUnit": Decimal("2.5"),
                "unitSize": 1_000_000,
            },
            "output": {
                "tokens": 500,
                "credits": 10,
                "usd": Decimal("0.005"),
                "ratePerUnit": 10,
                "unitSize": 1_000_000,
            },
            "inputCostUsd": Decimal("0.0025"),
            "outputCostUsd": Decimal("0.005"),
            "totalCostUsd": Decimal("0.0075"),
        },
        "providerCostUsd": Decimal("0.0075"),
        "revenueUsd": Decimal("0.015"),
        "marginUsd": Decimal("0.0075"),
        "marginPercent": 50,
        "pricingSource": "customer_burn_table",
        "cost": Decimal("0.0075"),
        "currency": "USD",
    }


def test_a_charge_without_a_cost_leaves_what_needs_a_cost_null() -> None:
    charged = pb.Rating(
        charge=Money(amount_nanos=2_000_000_000),
        burn_table_version="brn_1",
        lines=[
            pb.RatedLine(
                components=[part("input_tokens", 1000, rate="2", exact="2", currency="CREDITS")],
            )
        ],
    )

    body = calculation_body(charged)

    assert is_priced(charged)
    assert body["credits"] == 2
    assert [body[name] for name in ("cost", "providerCostUsd", "marginUsd", "marginPercent")] == [None] * 4


@pytest.mark.parametrize(
    "rating",
    [
        pb.Rating(lines=[pb.RatedLine()]),
        # Nothing of an unknown model: its charge is 0, and its price is not known.
        pb.Rating(charge=Money(), cost=Money(), lines=[pb.RatedLine()]),
    ],
)
def test_what_has_no_price_is_not_priced(rating: pb.Rating) -> None:
    assert not is_priced(rating)


def test_margins_are_shares_of_the_revenue() -> None:
    loss = Margin(charge=1_000_000_000, cost=7_500_000)

    assert (loss.revenue, loss.amount) == (Decimal("0.001"), Decimal("-0.0065"))
    assert loss.percent == -650
    assert Margin(charge=0, cost=5).percent == 0


def test_ties_are_rounded_away_from_zero() -> None:
    assert fixed(Decimal("0.03125"), 4) == "0.0313"
    assert fixed(Decimal("-0.03125"), 4) == "-0.0313"
