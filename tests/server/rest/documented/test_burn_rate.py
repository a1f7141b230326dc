import pytest

from om_server.rest.documented.burn_rate import Pace, burn_rate_body, forecast_body

NANO = 10**9
NOW_US = 1_767_225_600_000_000


def pace(*, balance: int, week: int, month: int) -> Pace:
    return Pace(exists=True, balance=balance * NANO, week=week * NANO, month=month * NANO)


def test_burn_is_positive_and_runs_out_at_the_pace_of_a_week() -> None:
    assert burn_rate_body(pace(balance=100, week=70, month=300), now_us=NOW_US)["data"] == {
        "currentBalance": "100",
        "last7Days": {"creditsBurned": "70", "averagePerDay": "10.00"},
        "last30Days": {"creditsBurned": "300", "averagePerDay": "10.00"},
        "projectedRunout": {"daysRemaining": 10, "estimatedRunoutDate": "2026-01-11T00:00:00.000Z"},
        "recommendations": [
            {
                "type": "warning",
                "message": "Credits will run out in 10 days. Consider purchasing more soon.",
                "action": "purchase_credits",
            }
        ],
    }


@pytest.mark.parametrize(
    ("balance", "week", "month", "types"),
    [
        (69, 70, 300, ["urgent"]),
        (70, 70, 300, ["warning"]),
        (139, 70, 300, ["warning"]),
        (140, 70, 300, []),
        # A steady burn raises no alert, and a spike does.
        (10_000, 70, 200, []),
        (10_000, 70, 199, ["alert"]),
        (1, 70, 199, ["urgent", "alert"]),
        # Whoever began this week.
        (10_000, 70, 70, []),
        (0, 70, 300, ["urgent"]),
        (-5, 70, 300, ["urgent"]),
        (100, 0, 0, []),
        (100, 0, 300, []),
    ],
)
def test_each_recommendation_begins_where_it_was_published(
    balance: int, week: int, month: int, types: list[str]
) -> None:
    body = burn_rate_body(pace(balance=balance, week=week, month=month), now_us=NOW_US)

    data = body["data"]
    assert isinstance(data, dict)
    assert [item["type"] for item in data["recommendations"]] == types


def test_a_wallet_that_nothing_burns_never_runs_out() -> None:
    data = burn_rate_body(pace(balance=100, week=0, month=0), now_us=NOW_US)["data"]

    assert isinstance(data, dict)
    assert data["projectedRunout"] == {"daysRemaining": None, "estimatedRunoutDate": None}


def test_a_wallet_that_outlasts_the_calendar_has_days_and_no_date() -> None:
    slow = Pace(exists=True, balance=10**18, week=1, month=1)
    data = burn_rate_body(slow, now_us=NOW_US)["data"]

    assert isinstance(data, dict)
    assert data["projectedRunout"] == {"daysRemaining": 7 * 10**18, "estimatedRunoutDate": None}


def test_the_forecast_carries_the_pace_of_a_month_on() -> None:
    assert forecast_body(pace(balance=25, week=70, month=300), days=3, now_us=NOW_US) == {
        "currentBalance": 25,
        "averageDailyBurn": 10,
        "forecast": [
            {"date": "2026-01-02", "predictedBurn": 10, "cumulativeBurn": 10},
            {"date": "2026-01-03", "predictedBurn": 10, "cumulativeBurn": 20},
            {"date": "2026-01-04", "predictedBurn": 10, "cumulativeBurn": 30},
        ],
        "projections": {"balanceAfterPeriod": 0, "daysUntilDepleted": 2, "willDeplete": True},
    }


def test_without_any_charge_there_is_nothing_to_carry_on() -> None:
    assert forecast_body(pace(balance=25, week=0, month=0), days=3, now_us=NOW_US) == {
        "currentBalance": 25,
        "averageDailyBurn": 0,
        "forecast": [],
        "message": "Insufficient historical data for forecasting",
    }
