"""GET /v1/analytics/burn-rate and /burn-forecast: how fast a wallet is used up, and when it is empty."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.core.clock import MICROS_PER_SECOND, Clock
from om_server.rest.channel import Server
from om_server.rest.documented.customer_label import customer_label
from om_server.rest.documented.endpoint import Answer
from om_server.rest.documented.figure import exact, exact_text
from om_server.rest.documented.moment import iso_text, timestamp_of
from om_server.rest.documented.query import Query
from om_server.rest.documented.statement import CreditWalletMissing
from om_server.rest.documented.tenant import wallet_owner
from om_server.rest.request import CallContext, Request

_WEEK, _MONTH = 7, 30
_URGENT_DAYS, _WARNING_DAYS = 7, 14
_FORECAST_MAX = 90
_CENT = Decimal("0.01")
#: The last day that a calendar can name; a wallet that lasts longer has no date.
_DAYS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Pace:
    """What a wallet has, and what was charged in the last 7 and 30 days; nano-credits, never negative."""

    exists: bool
    balance: int
    week: int
    month: int

    @property
    def days_left(self) -> int | None:
        """Whole days until nothing is left at the pace of a week; None where nothing is used."""
        return max(self.balance, 0) * _WEEK // self.week if self.week > 0 else None


async def read_pace(query: Query, server: Server, *, context: CallContext) -> Pace:
    """The pace of a user, of a customer, or of the organization, whose own wallet it then is."""
    user_id = query.text("userId")
    customer_id = await customer_label(query.text("customerId"), server, context=context)
    owner = wallet_owner("", user_id=user_id, customer_id=customer_id)
    asked = analytics_pb.GetBurnRateRequest(user_id=user_id, customer_id=customer_id)
    found, rate = await asyncio.gather(
        server.ask(server.wallet.GetWallet, wallet_pb.GetWalletRequest(owner=owner), context=context),
        server.ask(server.analytics.GetBurnRate, asked, context=context),
    )
    wallet = found.wallet
    return Pace(
        wallet.exists, wallet.posted.amount_nanos, rate.charge_7d.amount_nanos, rate.charge_30d.amount_nanos
    )


class GetBurnRate:
    """Burn as positive numbers; 404 where there is no wallet."""

    def __init__(self, server: Server, *, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    async def __call__(self, request: Request) -> Answer:
        query = Query(request.query)
        pace = await read_pace(query, self._server, context=request.context)
        if not pace.exists:
            raise CreditWalletMissing(query.text("userId") or query.text("customerId"))
        return Answer(200, burn_rate_body(pace, now_us=self._clock()))


class GetBurnForecast:
    """The pace of 30 days carried on over the days that are asked for."""

    def __init__(self, server: Server, *, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    async def __call__(self, request: Request) -> Answer:
        query = Query(request.query)
        days = query.integer("days", default=_MONTH, least=1, most=_FORECAST_MAX)
        pace = await read_pace(query, self._server, context=request.context)
        body = forecast_body(pace, days=days, now_us=self._clock())
        # As the other analytics have it, and as it was published: the same once more under `data`.
        return Answer(200, body | {"data": body})


def burn_rate_body(pace: Pace, *, now_us: int) -> dict[str, object]:
    """The published body: amounts as text, days as a number."""
    days = pace.days_left
    return {
        "data": {
            "currentBalance": exact_text(pace.balance),
            "last7Days": _burned(pace.week, _WEEK),
            "last30Days": _burned(pace.month, _MONTH),
            "projectedRunout": {"daysRemaining": days, "estimatedRunoutDate": _runout_date(pace, now_us)},
            "recommendations": _recommendations(pace, days),
        }
    }


def _burned(charge: int, days: int) -> dict[str, object]:
    average = (Decimal(charge).scaleb(-9) / days).quantize(_CENT, ROUND_HALF_UP)
    return {"creditsBurned": exact_text(charge), "averagePerDay": format(average, "f")}


def _runout_date(pace: Pace, now_us: int) -> str | None:
    days = pace.days_left
    if days is None or days > _DAYS_MAX:
        return None
    left_us = max(pace.balance, 0) * _WEEK * 86_400 * MICROS_PER_SECOND // pace.week
    return iso_text(timestamp_of(_moment(now_us) + timedelta(microseconds=left_us)))


def _recommendations(pace: Pace, days: int | None) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    if days is not None and days < _URGENT_DAYS:
        message = f"Credits will run out in {days} days. Purchase more to avoid service interruption."
        found.append({"type": "urgent", "message": message, "action": "purchase_credits"})
    elif days is not None and days < _WARNING_DAYS:
        message = f"Credits will run out in {days} days. Consider purchasing more soon."
        found.append({"type": "warning", "message": message, "action": "purchase_credits"})
    # More than half as much again for each day: week / 7 > 1.5 x month / 30. Whoever began this week has not
    # increased anything.
    if pace.month > pace.week and pace.week * _MONTH * 2 > pace.month * _WEEK * 3:
        message = "Your burn rate has increased 50% in the last 7 days. Review usage patterns."
        found.append({"type": "alert", "message": message, "action": "review_usage"})
    return found


def forecast_body(pace: Pace, *, days: int, now_us: int) -> dict[str, object]:
    """Numbers; the first day is tomorrow. Without any charge there is nothing to carry on."""
    if pace.month <= 0:
        return {
            "currentBalance": exact(pace.balance),
            "averageDailyBurn": 0,
            "forecast": [],
            "message": "Insufficient historical data for forecasting",
        }
    # As published, rounded up: here to the nano-credit and not to the credit.
    daily = -(-pace.month // _MONTH)
    today = _moment(now_us).date()
    return {
        "currentBalance": exact(pace.balance),
        "averageDailyBurn": exact(daily),
        "forecast": [
            {
                "date": (today + timedelta(days=day)).isoformat(),
                "predictedBurn": exact(daily),
                "cumulativeBurn": exact(daily * day),
            }
            for day in range(1, days + 1)
        ],
        "projections": {
            "balanceAfterPeriod": exact(max(0, pace.balance - daily * days)),
            "daysUntilDepleted": max(pace.balance, 0) // daily,
            "willDeplete": pace.balance <= daily * days,
        },
    }


def _moment(now_us: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now_us)
