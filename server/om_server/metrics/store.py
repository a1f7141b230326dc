"""What lies in the stores: read when Prometheus asks, seldom enough for the database, failing softly."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import Metric

    from om_server.pipeline.store_figures import StoreFigures

_log = structlog.get_logger(__name__)

_NANO = 1_000_000_000
#: Whoever asks more often gets the same figures again.
_LIFE_S = 5.0


class StoreMetrics(Collector):
    """Gauges of queue, leases, dead letters and connections. Without a store it says that there is none."""

    def __init__(
        self,
        read: Callable[[], StoreFigures],
        *,
        connections: Callable[[], int],
        seconds: Callable[[], float],
        life_s: float = _LIFE_S,
    ) -> None:
        """`seconds` is a clock that only goes forward."""
        self._read = read
        self._connections = connections
        self._seconds = seconds
        self._life_s = life_s
        self._lock = threading.Lock()
        self._known: StoreFigures | None = None
        self._read_at: float | None = None

    def describe(self) -> list[Metric]:
        """Name them without a question to the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give the figures; where they cannot be read, none but that."""
        figures = self._figures()
        yield GaugeMetricFamily(
            "om_store_up", "1 if queue and database could be read.", value=float(figures is not None)
        )
        yield GaugeMetricFamily(
            "om_database_connections", "Connections in use of the pool.", value=self._connections()
        )
        if figures is None:
            return
        yield GaugeMetricFamily(
            "om_queue_batches", "Batches that wait for settlement.", value=figures.queued_batches
        )
        yield GaugeMetricFamily(
            "om_queue_oldest_seconds",
            "How long the oldest batch has waited; 0 where none does.",
            value=figures.oldest_wait_s,
        )
        yield GaugeMetricFamily(
            "om_dead_letters", "Events that wait for a decision.", value=figures.dead_letters
        )
        yield GaugeMetricFamily("om_leases", "Leases that have not ended.", value=figures.leases)
        yield GaugeMetricFamily(
            "om_lease_held_credits", "What these leases hold.", value=figures.held_nanos / _NANO
        )

    def _figures(self) -> StoreFigures | None:
        with self._lock:
            now = self._seconds()
            if self._read_at is None or now >= self._read_at + self._life_s:
                self._known = self._asked()
                self._read_at = now
            return self._known

    def _asked(self) -> StoreFigures | None:
        try:
            return self._read()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other metrics are still to be read.
            _log.warning("store_figures_unread", cause=type(error).__name__)
            return None
