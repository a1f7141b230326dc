"""What REST counts of its requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Histogram
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RestMetrics(Collector):
    """Counts requests by operation and status class. A path that is on no route has no operation."""

    def __init__(self) -> None:
        labels = ["operation"]
        self._requests = Counter(
            "om_rest_requests", "Requests that were answered.", [*labels, "status"], registry=None
        )
        self._seconds = Histogram(
            "om_rest_request_seconds",
            "Time to the whole answer.",
            labels,
            registry=None,
            buckets=_BOUNDS,
        )

    def answered(self, operation: str, status: int, *, seconds: float) -> None:
        """Count a request that ended."""
        named = operation or "none"
        self._requests.labels(named, f"{status // 100}xx").inc()
        self._seconds.labels(named).observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """Give what was counted since the process started."""
        for metric in (self._requests, self._seconds):
            yield from metric.collect()
