"""What a proxy tells Prometheus, on a port of its own: the figures are of every tenant."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from om_proxy.counts import Counts, Distribution
from om_proxy.funding.drawers import LeaseTotals

_PATH = "/metrics"
_NANO = 1_000_000_000
_CLOSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How the edge stands now, each asked on the event loop."""

    ready: Callable[[], bool]
    open_calls: Callable[[], int]
    leases: Callable[[], LeaseTotals]
    unsettled: Callable[[], int]


class ProxyMetrics(Collector):
    """Reads the counts and the edge when it is asked. `journal_bytes` is set before."""

    def __init__(self, counts: Counts, standing: Standing) -> None:
        self.journal_bytes = 0
        self._counts = counts
        self._standing = standing

    def collect(self) -> Iterator[Metric]:
        """Give everything."""
        yield from self._counted()
        yield from self._timed()
        yield from self._now()

    def _counted(self) -> Iterator[Metric]:
        counts = self._counts
        yield _counter(
            "om_proxy_requests",
            "Requests that ended, by status class; left: the caller did not wait.",
            ("provider", "route", "status"),
            counts.requests,
        )
        yield _counter(
            "om_proxy_refusals",
            "Answers that were the proxy's own, by their code.",
            ("code",),
            {(code,): count for code, count in counts.refusals.items()},
        )
        yield _counter(
            "om_proxy_provider_errors",
            "What providers answered or failed with.",
            ("provider", "error"),
            counts.provider_errors,
        )
        yield _counter(
            "om_proxy_outcomes",
            "Admitted calls that ended, by how.",
            ("outcome",),
            {(outcome,): count for outcome, count in counts.outcomes.items()},
        )
        yield _counter(
            "om_proxy_quantity",
            "What calls consumed, in each unit's smallest step.",
            ("provider", "unit"),
            counts.quantities,
        )

    def _timed(self) -> Iterator[Metric]:
        counts = self._counts
        yield _histogram("om_proxy_request_seconds", "Time to the whole answer.", counts.request_s)
        yield _histogram(
            "om_proxy_upstream_seconds", "Time until a provider's answer begins.", counts.upstream_s
        )

    def _now(self) -> Iterator[Metric]:
        standing = self._standing
        leases = standing.leases()
        for name, text, value in (
            ("om_proxy_ready", "1 if the edge is registered with the server.", float(standing.ready())),
            ("om_proxy_open_calls", "Admitted calls that have not ended.", standing.open_calls()),
            ("om_proxy_leases", "Leases that may be spent from.", leases.count),
            ("om_proxy_lease_held_credits", "What these leases were granted.", leases.granted_nanos / _NANO),
            ("om_proxy_lease_left_credits", "What of it calls may take.", leases.left_nanos / _NANO),
            ("om_proxy_journal_bytes", "Size of the journal on the disk.", self.journal_bytes),
            ("om_proxy_unsettled_events", "Outcomes that are not settled.", standing.unsettled()),
        ):
            yield GaugeMetricFamily(name, text, value=value)


def _counter(
    name: str, text: str, labels: tuple[str, ...], counted: Mapping[tuple[str, ...], int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in counted.items():
        family.add_metric(values, count)
    return family


def _histogram(name: str, text: str, timed: Mapping[str, Distribution]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, text, labels=("provider",))
    for provider, seconds in timed.items():
        family.add_metric([provider], buckets=seconds.buckets(), sum_value=seconds.total)
    return family


@contextlib.asynccontextmanager
async def exposed(metrics: ProxyMetrics, *, journal: Path, host: str, port: int) -> AsyncIterator[None]:
    """Answer `/metrics` until the block is left; port 0 is nowhere. OSError where the port is taken."""
    if not port:
        yield
        return
    # Never the library's own registry, which every import could write to.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    ProcessCollector(registry=registry)

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path != _PATH:
            return web.Response(status=404)
        metrics.journal_bytes = await asyncio.to_thread(_size_of, journal)
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=_CLOSE_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


def _size_of(folder: Path) -> int:
    """Add up the files of a folder, some of which may go meanwhile."""
    size = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size
