"""How fast a wallet is used up: what was charged lately, and when at that pace nothing is left."""

from collections.abc import Callable
from dataclasses import dataclass

from om_server.analytics.query import EventFilter
from om_server.analytics.window_sum import WindowSums
from om_server.core.clock import Clock
from om_server.core.hours import HOUR, HOUR_MAX, HourRange, hour_of

_WEEK_HOURS = 7 * 24
_MONTH_HOURS = 30 * 24


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose wallet and events are meant: a user's, else a customer's, else the organization's."""

    organization_id: str
    user_id: str = ""
    customer_id: str = ""


#: Gives what a payer's wallet has available, in nano-credits; None where there is no wallet.
Available = Callable[[Payer], int | None]


def no_wallets(_payer: Payer) -> int | None:
    """Nobody has a wallet."""
    return None


@dataclass(frozen=True, slots=True)
class BurnRate:
    """Nano-credits; the run-out is in microseconds since 1970, None where nothing runs out."""

    available: int
    charge_7d: int
    charge_30d: int
    runout_time: int | None


def runout(available: int, charge_7d: int, *, now: int) -> int | None:
    """Return when nothing is left at the pace of a week: now if nothing is, None if nothing is used."""
    if charge_7d <= 0:
        return None
    time = now + max(available, 0) * _WEEK_HOURS * HOUR // charge_7d
    return time if hour_of(time) < HOUR_MAX else None


class BurnRates:
    """Sums what was charged by the hour. A window ends with the hour that runs, so it is of whole hours."""

    def __init__(self, sums: WindowSums, *, available: Available, clock: Clock) -> None:
        self._sums = sums
        self._available = available
        self._clock = clock

    def of(self, payer: Payer) -> BurnRate:
        """Return the pace of a payer; usage that no wallet paid runs nothing out."""
        now = self._clock()
        available = self._available(payer)
        week, month = (self._charged(payer, hours, now=now) for hours in (_WEEK_HOURS, _MONTH_HOURS))
        ends = None if available is None else runout(available, week, now=now)
        return BurnRate(available or 0, week, month, ends)

    def _charged(self, payer: Payer, hours: int, *, now: int) -> int:
        end = hour_of(now) + 1
        span = HourRange(end - hours, end)
        # The customer that is the organization itself is none.
        customer_id = "" if payer.customer_id == payer.organization_id else payer.customer_id
        wanted = EventFilter(
            start_time=span.start_time,
            end_time=span.end_time,
            user_ids=(payer.user_id,) if payer.user_id else (),
            customer_ids=(customer_id,) if customer_id else (),
        )
        return self._sums.charge(payer.organization_id, wanted)
