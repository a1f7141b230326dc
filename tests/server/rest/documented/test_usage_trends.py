import pytest

from om.analytics.v1 import analytics_service_pb2 as pb
from om_server.rest.documented.cost_breakdown import breakdown_body
from om_server.rest.documented.costs import costs_body
from om_server.rest.documented.usage_trends import trends_body

DAY = 86_400
#: Thursday, the first of January 2026.
THURSDAY = 1_767_225_600


def day(offset: int, *, charge: int) -> pb.UsageRow:
    row = pb.UsageRow(event_count=1)
    row.period_start.seconds = THURSDAY + offset * DAY
    row.charge.amount_nanos = charge * 10**9
    return row


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        ("day", [("2026-01-01", 1), ("2026-01-03", 2), ("2026-01-04", 4), ("2026-02-01", 8)]),
        # Weeks begin on Sunday: the third of January still belongs to the last days of December.
        ("week", [("2025-12-28", 3), ("2026-01-04", 4), ("2026-02-01", 8)]),
        ("month", [("2026-01", 7), ("2026-02", 8)]),
    ],
)
def test_days_make_weeks_and_months(group_by: str, expected: list[tuple[str, int]]) -> None:
    rows = [day(0, charge=1), day(2, charge=2), day(3, charge=4), day(31, charge=8)]

    data = trends_body(rows, group_by)["data"]

    assert isinstance(data, list)
    assert [(row["period"], row["totalCreditsBurned"]) for row in data] == expected


def row(provider: str, model: str, *, charge: int, cost: int) -> pb.UsageRow:
    found = pb.UsageRow(event_count=1, unrated_count=1)
    found.group.add(dimension=pb.DIMENSION_PROVIDER, value=provider)
    found.group.add(dimension=pb.DIMENSION_MODEL, value=model)
    found.charge.amount_nanos, found.cost.amount_nanos = charge, cost
    return found


def test_costs_are_summed_before_they_are_rounded() -> None:
    rows = [row("openai", f"m{number}", charge=40_000_000, cost=20_000) for number in range(3)]

    body = costs_body([*rows, row("", "", charge=0, cost=0)])

    data = body["data"]
    assert isinstance(data, dict)
    # Three times 0.00004 dollars are 0.00012, and each alone would be rounded to nothing.
    assert data["summary"] == {
        "totalRevenue": "0.0001",
        "totalProviderCost": "0.0001",
        "totalMargin": "0.0001",
        "marginPercent": 50,
    }
    assert [(one["provider"], one["model"]) for one in data["byProvider"]][-1] == ("unknown", "unknown")
    assert body["unratedEvents"] == 4


def test_the_dearest_model_comes_first_and_shares_are_of_the_cost() -> None:
    body = breakdown_body(
        [
            row("openai", "cheap", charge=1_000_000_000, cost=1_000_000),
            row("openai", "dear", charge=3_000_000_000, cost=3_000_000),
        ]
    )

    data = body["data"]
    assert isinstance(data, list)
    assert [one["model"] for one in data] == ["dear", "cheap"]
    by_model = body["byModel"]
    assert isinstance(by_model, dict)
    assert {name: share["percentage"] for name, share in by_model.items()} == {"dear": 75, "cheap": 25}
