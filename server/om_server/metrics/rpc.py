"""What the gRPC server counts of its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class RpcMetrics(Collector):
    """Counts calls by RPC and code, refusals by reason, and streams that are open."""

    def __init__(self) -> None:
        # Without a registry: this object is what is registered.
        self._seconds = Histogram(
            "om_rpc_seconds", "Time of unary calls.", ["rpc"], registry=None, buckets=_BOUNDS
        )
        self._calls = Counter(
            "om_rpc_calls", "Calls that ended, by status code.", ["rpc", "code"], registry=None
        )
        self._refusals = Counter(
            "om_rpc_refusals", "Calls that failed, by reason.", ["reason"], registry=None
        )
        self._streams = Gauge("om_rpc_streams", "Streams that are open.", ["rpc"], registry=None)

    def answered(self, rpc: str, code: str, *, reason: str, seconds: float | None) -> None:
        """Count a call that ended; a stream has no time, because its length says nothing."""
        self._calls.labels(rpc, code).inc()
        if reason:
            self._refusals.labels(reason).inc()
        if seconds is not None:
            self._seconds.labels(rpc).observe(seconds)

    def streaming(self, rpc: str, change: int) -> None:
        """Count a stream that begins (1) or has ended (-1)."""
        self._streams.labels(rpc).inc(change)

    def collect(self) -> Iterator[Metric]:
        """Give what was counted since the process started."""
        for metric in (self._calls, self._seconds, self._refusals, self._streams):
            yield from metric.collect()
