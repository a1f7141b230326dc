"""Gauges of the stores are read seldom, and their failure costs no other metric."""

from __future__ import annotations

from structlog.testing import capture_logs

from om_server.core.errors import DependencyUnavailable
from om_server.metrics.exposition import registry_of
from om_server.metrics.store import StoreMetrics
from om_server.pipeline.store_figures import StoreFigures


class Stores:
    """Figures that a test sets, and a clock."""

    def __init__(self) -> None:
        self.asked = 0
        self.now = 100.0
        self.away = False
        self.registry = registry_of(
            StoreMetrics(self._read, connections=lambda: 3, seconds=lambda: self.now, life_s=5)
        )

    def value(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)

    def _read(self) -> StoreFigures:
        self.asked += 1
        if self.away:
            raise DependencyUnavailable("postgresql://user:secret@db")
        return StoreFigures(self.asked, 2.5, 1, 4, 6e9)


def test_the_figures_are_told() -> None:
    stores = Stores()

    told = [
        "om_queue_batches",
        "om_queue_oldest_seconds",
        "om_dead_letters",
        "om_leases",
        "om_lease_held_credits",
    ]
    assert [stores.value(name) for name in told] == [1, 2.5, 1, 4, 6]
    assert (stores.value("om_store_up"), stores.value("om_database_connections")) == (1, 3)


def test_the_stores_are_asked_once_in_a_while() -> None:
    stores = Stores()
    assert stores.asked == 0, "a start must not wait for the database"

    for _ in range(3):
        stores.value("om_leases")
    stores.now += 5
    stores.value("om_leases")

    assert stores.asked == 2


def test_a_store_that_is_away_is_told_and_costs_nothing_else() -> None:
    stores = Stores()
    stores.away = True

    with capture_logs() as logs:
        assert stores.value("om_store_up") == 0

    assert stores.value("om_queue_batches") is None
    assert stores.value("om_database_connections") == 3
    assert [line["event"] for line in logs] == ["store_figures_unread"]
    assert "secret" not in repr(logs)
