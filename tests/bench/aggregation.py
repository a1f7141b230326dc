"""How long the reads of analytics take over a month of a million events, on PostgreSQL, over HTTP.

The rollups of the events are written, not the events: nothing else is read. A thousand series, some busy
and most not, give half a million rows by the hour, which is far more than an organization has whose
users come back.
"""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx
import psycopg
from rich.console import Console

from om_server import wiring
from om_server.account.development import ORGANIZATION_ID
from om_server.analytics.period import Cut, Granularity
from om_server.analytics.query import Dimension, UsageQuery
from om_server.analytics.rollup_store import Question, statement
from om_server.cli.demo import DEVELOPMENT_KEY
from om_server.core.hours import HOUR, HOURS_OF_DAY, HourRange
from tests.bench.deployment import free_ports, prepared
from tests.bench.figure import Figure, percentile
from tests.bench.process import Program, answers_http, fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.deployment import Deployment

_EVENTS = 1_000_000
_SERIES = 1_000
_HOURS = 30 * HOURS_OF_DAY
_BAR = "<= 100 ms"
_READS_MIN = 20

_SEED = (
    """INSERT INTO series SELECT %(organization)s, md5(s::text), 'team_' || s %% 20, 'key_' || s %% 40,
      'customer_' || s %% 100, 'user_' || s %% 500, 'feature_' || s %% 8, 'prompt_' || s %% 25, s %% 3,
      'TOKEN_USAGE', (ARRAY['openai', 'anthropic', 'google'])[1 + s %% 3], 'model_' || s %% 12, false
    FROM generate_series(1, %(series)s) s""",
    """INSERT INTO rollups SELECT %(organization)s, hour, '', md5(s::text), count(*), 0, 0, 0,
      sum(1000 + s), sum(2000 + s)
    FROM (SELECT %(last)s - (random() * (%(hours)s - 1))::int AS hour,
      1 + ((%(series)s - 1) * power(random(), 2))::int AS s FROM generate_series(1, %(events)s)) drawn
    GROUP BY hour, s""",
    """INSERT INTO rollups SELECT organization_id, hour, 'tag_' || hashtext(series_id) %% 10, series_id,
      event_count, 0, 0, 0, cost, charge FROM rollups""",
    """INSERT INTO rollup_quantities SELECT organization_id, hour, tag, series_id, unit, event_count * 100, 0
    FROM rollups, unnest(ARRAY['input_tokens', 'output_tokens']) unit""",
    """INSERT INTO daily_rollups SELECT organization_id, hour / 24, tag, series_id, sum(event_count), 0, 0, 0,
      sum(cost), sum(charge) FROM rollups GROUP BY 1, 2, 3, 4""",
    """INSERT INTO daily_rollup_quantities SELECT organization_id, hour / 24, tag, series_id, unit,
      sum(amount), 0
    FROM rollup_quantities GROUP BY 1, 2, 3, 4, 5""",
)
_ANALYZE = "ANALYZE series, rollups, rollup_quantities, daily_rollups, daily_rollup_quantities"


def aggregate(folder: Path, seconds: float) -> list[Figure]:
    """Every aggregation and the published usage report, each over the same thirty days."""
    with prepared(folder, "postgresql") as deployed:
        _seed(deployed)
        Console(width=160).print(
            "The plan of GET /v1/analytics/usage:", plan(deployed), sep="\n", markup=False
        )
        with (
            _serving(deployed) as address,
            httpx.Client(base_url=address, headers={"authorization": f"Bearer {DEVELOPMENT_KEY}"}) as web,
        ):
            return [_figure(web, name, path, seconds=seconds) for name, path in _paths().items()]


def _paths() -> dict[str, str]:
    now = datetime.now(UTC)
    start, end = datetime.fromtimestamp(now.timestamp() - _HOURS * 3600, UTC).date(), now.date()
    days = f"start={start}&end={end}"
    groups = ("prompt", "team", "key", "tag", "feature", "model", "customer", "user")
    return {
        "monthly": f"/api/aggregations/monthly?{days}",
        **{f"by-{group}": f"/api/aggregations/by-{group}?{days}" for group in groups},
        "by-model, one provider": f"/api/aggregations/by-model?{days}&provider=openai",
        "version-comparison": f"/api/aggregations/version-comparison?prompt_key=prompt_1&{days}",
        "trend by day, UTC": f"/api/aggregations/trend?{days}",
        "trend by day, Asia/Kolkata": f"/api/aggregations/trend?{days}&timezone=Asia/Kolkata",
        "trend by week": f"/api/aggregations/trend?{days}&granularity=week",
        "GET /v1/analytics/usage": f"/v1/analytics/usage?startDate={start}&endDate={end}",
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


def _seed(deployed: Deployment) -> None:
    values = {
        "organization": ORGANIZATION_ID,
        "series": _SERIES,
        "events": _EVENTS,
        "hours": _HOURS,
        "last": time.time_ns() // 1000 // HOUR,
    }
    with psycopg.connect(deployed.settings.database_url, autocommit=True) as connection:
        for statement in _SEED:
            connection.execute(statement, values)
        connection.execute(_ANALYZE)


def plan(deployed: Deployment) -> str:
    """How PostgreSQL answers the widest read: quantities too, by what the published report groups by."""
    database = wiring.open_database(deployed.settings)
    end = time.time_ns() // 1000 // HOUR // HOURS_OF_DAY * HOURS_OF_DAY
    hours, cut = HourRange(end - _HOURS, end), Cut(Granularity.TOTAL)
    query = UsageQuery(
        group_by=(Dimension.FEATURE, Dimension.PROVIDER, Dimension.MODEL, Dimension.EVENT_TYPE)
    )
    question = Question(ORGANIZATION_ID, query, hours, cut, with_quantities=True)
    sql, values = statement(question, exact=True).sql()
    with contextlib.closing(database):
        rows = database.read(
            lambda: database.engine.execute_sql(f"EXPLAIN (ANALYZE, COSTS OFF) {sql}", values).fetchall()
        )
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
