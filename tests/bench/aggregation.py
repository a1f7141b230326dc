"""How long the reads of analytics take over a month of a million events, on PostgreSQL, over HTTP.

The rollups of the events are written, not the events: nothing else is read. The months are of month.py.
"""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx
from rich.console import Console

from om_server import connections
from om_server.account.development import ORGANIZATION_ID
from om_server.analytics.period import Cut, Granularity
from om_server.analytics.query import Dimension, UsageQuery
from om_server.analytics.rollup_statement import Question, statement
from om_server.cli.demo import DEVELOPMENT_KEY
from om_server.core.hours import HOUR, HOURS_OF_DAY, HourRange
from tests.bench.deployment import free_ports, prepared
from tests.bench.figure import Figure, percentile
from tests.bench.month import HARSH, HOURS, REALISTIC, Shape, seed
from tests.bench.process import Program, answers_http, fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.deployment import Deployment

_BAR = "<= 100 ms"
_READS_MIN = 20


def aggregate(folder: Path, seconds: float) -> list[Figure]:
    """Every aggregation and the published usage report over the same thirty days, in both shapes."""
    return [figure for shape in (REALISTIC, HARSH) for figure in _measure(folder, shape, seconds=seconds)]


def _measure(folder: Path, shape: Shape, *, seconds: float) -> Iterator[Figure]:
    with prepared(folder, "postgresql") as deployed:
        rows = ", ".join(f"{table} {count:,}" for table, count in seed(deployed.settings, shape).items())
        console = Console(width=160)
        console.print(f"\nRows of the {shape.name} month:", rows, markup=False)
        console.print("The plan of GET /v1/analytics/usage:", plan(deployed), sep="\n", markup=False)
        with (
            _serving(deployed) as address,
            httpx.Client(base_url=address, headers={"authorization": f"Bearer {DEVELOPMENT_KEY}"}) as web,
        ):
            for name, path in _paths().items():
                yield _figure(web, f"{shape.name}: {name}", path, seconds=seconds)


def _paths() -> dict[str, str]:
    now = datetime.now(UTC)
    start, end = datetime.fromtimestamp(now.timestamp() - HOURS * 3600, UTC).date(), now.date()
    days = f"start={start}&end={end}"
    groups = ("prompt", "team", "key", "tag", "feature", "model", "customer", "user")
    return {
        "monthly": f"/api/aggregations/monthly?{days}",
        **{f"by-{group}": f"/api/aggregations/by-{group}?{days}" for group in groups},
        "by-user, one provider": f"/api/aggregations/by-user?{days}&provider=openai",
        "by-model, one provider": f"/api/aggregations/by-model?{days}&provider=openai",
        "version-comparison": f"/api/aggregations/version-comparison?prompt_key=prompt_1&{days}",
        "trend by day, UTC": f"/api/aggregations/trend?{days}",
        "trend by day, Asia/Kolkata": f"/api/aggregations/trend?{days}&timezone=Asia/Kolkata",
        "trend by week": f"/api/aggregations/trend?{days}&granularity=week",
        "GET /v1/analytics/usage": f"/v1/analytics/usage?startDate={start}&endDate={end}",
        "GET /v1/analytics/usage, one customer": (
            f"/v1/analytics/usage?startDate={start}&endDate={end}&customerId=customer_3"
        ),
    }


def _figure(web: httpx.Client, name: str, path: str, *, seconds: float) -> Figure:
    took: list[float] = []
    web.get(path).raise_for_status()
    began = time.perf_counter()
    while len(took) < _READS_MIN or time.perf_counter() - began < seconds / 5:
        started = time.perf_counter()
        web.get(path).raise_for_status()
        took.append((time.perf_counter() - started) * 1000)
    note = f"p50 {percentile(took, 50):.0f} ms of {len(took)} reads"
    return Figure(name, percentile(took, 95), "ms p95", bar=_BAR, note=note)


def plan(deployed: Deployment) -> str:
    """How PostgreSQL answers the widest read: quantities too, by what the published report groups by."""
    database = connections.open_database(deployed.settings)
    end = time.time_ns() // 1000 // HOUR // HOURS_OF_DAY * HOURS_OF_DAY
    hours, cut = HourRange(end - HOURS, end), Cut(Granularity.TOTAL)
    query = UsageQuery(
        group_by=(Dimension.FEATURE, Dimension.PROVIDER, Dimension.MODEL, Dimension.EVENT_TYPE)
    )
    question = Question(ORGANIZATION_ID, query, hours, cut, with_quantities=True)
    sql, values = statement(question, exact=True).sql()
    # Steadier than the time on the clock: without other processes, and with what is read in memory.
    serial = "SET max_parallel_workers_per_gather = 0"
    with contextlib.closing(database):

        def explain() -> list[tuple[str]]:
            database.engine.execute_sql(serial)
            database.engine.execute_sql(sql, values)
            explained = database.engine.execute_sql(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {sql}", values)
            return list(explained.fetchall())

        rows = database.read(explain)
    return "\n".join(line for (line,) in rows)


@contextlib.contextmanager
def _serving(deployed: Deployment) -> Iterator[str]:
    ports = free_ports(3)
    names = ("OM_REST_PORT", "OM_INGEST_PORT", "OM_RATING_PORT")
    environment = {
        "OM_ENV": "development",
        "OM_DATA_DIR": str(deployed.folder),
        "OM_GRPC_ADDRESS": deployed.grpc_target,
        "OM_HOST": "127.0.0.1",
        **dict(zip(names, map(str, ports), strict=True)),
    }
    address = f"http://127.0.0.1:{ports[0]}"
    rest = Program(
        "rest", ["om_server", "serve", "rest"], environment, lambda: answers_http(f"{address}/ready")
    )
    with fleet(deployed.folder, deployed.server("om_server", "serve", "rpc"), rest):
        yield address
