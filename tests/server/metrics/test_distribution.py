"""Values counted by upper bound, as Prometheus has them."""

from __future__ import annotations

from om_server.metrics.distribution import Distribution


def test_values_count_for_every_bound_that_they_keep() -> None:
    lags = Distribution((1.0, 2.0))
    lags.note(1.0, times=3)
    lags.note(1.5)
    lags.note(9.0)

    assert lags.buckets() == [("1.0", 3), ("2.0", 4), ("+Inf", 5)]
    assert lags.total == 13.5
