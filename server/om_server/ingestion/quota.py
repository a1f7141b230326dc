"""How many events a plan takes in within a month of UTC: by when they came, not when they happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from om_server.core.errors import Code, DomainError

#: How many events by the name of the plan; a plan without a number has no quota.
Quotas: TypeAlias = Mapping[str, int]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MonthlyQuotaExceeded(DomainError):
    """The new events of a batch do not fit into the month, so none of it was taken in."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "MONTHLY_QUOTA_EXCEEDED"

    def __init__(self, used: int, limit: int, *, month: str) -> None:
        super().__init__(
            f"Monthly quota exceeded ({limit} events). Please upgrade your plan.",
            current_usage=str(used),
            limit=str(limit),
            period=month,
        )


@dataclass(frozen=True, slots=True)
class QuotaStanding:
    """What a plan allows in a month, and what was taken in of it."""

    limit: int
    used: int

    @property
    def remaining(self) -> int:
        """How many more fit; none where the plan was lowered meanwhile."""
        return max(0, self.limit - self.used)


def month_of(now: int) -> str:
    """Return the calendar month of a time in microseconds since 1970, such as 2026-01."""
    return (_EPOCH + timedelta(microseconds=now)).strftime("%Y-%m")


def read_quotas(text: str) -> dict[str, int]:
    """Read `STARTER=10000,GROWTH=100000`; ValueError for anything else. Nothing is no quota for anybody."""
    quotas: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        plan, separator, number = part.partition("=")
        if not separator or not number.strip().isdecimal():
            raise ValueError("must be plans and numbers, such as STARTER=10000,GROWTH=100000")
        quotas[plan.strip().upper()] = int(number)
    return quotas
