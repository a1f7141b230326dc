"""What settlement did: counted in the process that settles, once its transaction has committed."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from om_server.core.clock import MICROS_PER_SECOND
from om_server.metrics.distribution import Distribution

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from prometheus_client import Metric

    from om_server.analytics.settled import SettledEvent

_NANO = 1_000_000_000
_LAG_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
#: Callers name providers and units as they like, and each name would be a series of its own for ever.
OTHER = "other"
_CUSTOM = "custom:"


class SettlementMetrics(Collector):
    """Counts settled events, what they consumed and what they came to. `providers` are told by name."""

    def __init__(self, providers: Collection[str]) -> None:
        self._providers = frozenset(providers)
        self._lock = threading.Lock()
        self._events: Counter[str] = Counter()
        self._quantities: Counter[tuple[str, str]] = Counter()
        self._cost: Counter[str] = Counter()
        self._charge = self._receivable = 0
        self._lag = Distribution(_LAG_BOUNDS)

    def note(self, events: Sequence[SettledEvent]) -> None:
        """Count events whose transaction has committed. Sandbox events are none of anybody's money."""
        # Most of a batch was received at once, and is of few providers and units.
        lags = Counter([settled.settle_time - settled.event.receive_time for settled in events])
        states = Counter(["SANDBOX" if item.event.sandbox else item.state.value for item in events])
        paid = [settled for settled in events if not settled.event.sandbox]
        quantities: dict[tuple[str, str], int] = {}
        costs: dict[str, int] = {}
        for settled in paid:
            for item in settled.lines:
                provider = item.line.provider
                costs[provider] = costs.get(provider, 0) + (item.cost or 0)
                for quantity in item.line.usage.quantities:
                    name = (provider, quantity.unit)
                    quantities[name] = quantities.get(name, 0) + (quantity.amount or 0)
        with self._lock:
            for lag, times in lags.items():
                self._lag.note(max(0, lag) / MICROS_PER_SECOND, times=times)
            self._events.update(states)
            for provider, cost in costs.items():
                self._cost[self._known(provider)] += cost
            for (provider, unit), amount in quantities.items():
                kind = "custom" if unit.startswith(_CUSTOM) else unit
                self._quantities[self._known(provider), kind] += amount
            self._charge += sum([settled.charge or 0 for settled in paid])
            self._receivable += sum([settled.receivable for settled in paid])

    def _known(self, provider: str) -> str:
        return provider if provider in self._providers else OTHER

    def collect(self) -> Iterator[Metric]:
        """Give what was counted since the process started."""
        with self._lock:
            events, quantities, cost = dict(self._events), dict(self._quantities), dict(self._cost)
            charge, receivable = self._charge, self._receivable
            buckets, total = self._lag.buckets(), self._lag.total
        counted = CounterMetricFamily(
            "om_settled_events", "Settled events, by what became of them.", labels=["state"]
        )
        for state, count in events.items():
            counted.add_metric([state], count)
        yield counted
        consumed = CounterMetricFamily(
            "om_settled_quantity",
            "What settled events consumed, in each unit's smallest step.",
            labels=["provider", "unit"],
        )
        for names, amount in quantities.items():
            consumed.add_metric(names, amount)
        yield consumed
        dollars = CounterMetricFamily(
            "om_settled_cost_dollars", "What providers ask for settled events.", labels=["provider"]
        )
        for provider, nanos in cost.items():
            dollars.add_metric([provider], nanos / _NANO)
        yield dollars
        yield CounterMetricFamily(
            "om_settled_charge_credits", "What settled events were charged.", value=charge / _NANO
        )
        yield CounterMetricFamily(
            "om_settled_receivable_credits",
            "What of the charges no wallet could pay.",
            value=receivable / _NANO,
        )
        yield HistogramMetricFamily(
            "om_settle_lag_seconds",
            "From the receipt of an event to its settlement.",
            buckets=buckets,
            sum_value=total,
        )
