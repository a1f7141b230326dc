"""Months of a million events of one organization, written as rollups in the two shapes that are measured.

REALISTIC is a product with 2,000 users of 100 customers: a user has one customer and mostly one feature, a
feature two keys of one team and three prompts, a prompt mostly one model and at times a new version; most
happens by day. HARSH is a thousand series whose dimensions hardly depend on one another, at every hour.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from om_server.account.development import ORGANIZATION_ID
from om_server.core.hours import HOUR, HOURS_OF_DAY
from om_server.storage.migrate import migrations

if TYPE_CHECKING:
    from om_server.settings import Settings

EVENTS = 1_000_000
HOURS = 30 * HOURS_OF_DAY

_BACKFILLS = ("0012_analytics", "0015_facets", "0017_consumers")
_TABLES = (
    "series",
    "rollups",
    "rollup_quantities",
    "daily_rollups",
    "daily_rollup_quantities",
    "facet_series",
    "facet_rollups",
    "facet_rollup_quantities",
    "daily_facet_rollups",
    "daily_facet_rollup_quantities",
    "daily_consumer_rollups",
)


@dataclass(frozen=True, slots=True)
class Shape:
    """How the events of a month are told apart: SQL that gives an hour and the dimensions of each."""

    name: str
    events: str
    #: The tag of an event, from its dimensions; null for none.
    tag: str


REALISTIC = Shape(
    "realistic",
    """SELECT hour, 'team_' || feature / 2 AS team_id, 'key_' || feature * 2 + person %% 2 AS key_id,
      'customer_' || person %% 100 AS customer_id, 'user_' || person AS user_id,
      'feature_' || feature AS feature_id, 'prompt_' || prompt AS prompt_key,
      1 + (prompt %% 3 = 0 AND hour > %(last)s - %(hours)s / 2)::int AS prompt_version,
      (prompt + (other < 0.05)::int) %% 6 AS model
    FROM (SELECT *, feature * 3 + (3 * power(random(), 2))::int %% 3 AS prompt
      FROM (SELECT person, random() AS other,
          (CASE WHEN random() < 0.8 THEN person ELSE person / 8 END) %% 8 AS feature,
          %(last)s - (random() * (%(hours)s / 24 - 1))::int * 24
            - (CASE WHEN random() < 0.7 THEN 8 + random() * 10 ELSE random() * 23 END)::int AS hour
        FROM (SELECT (1999 * power(random(), 2))::int AS person FROM generate_series(1, %(events)s)) drawn
      ) known) asked""",
    "CASE WHEN customer_id < 'customer_6' THEN 'plan_' || length(customer_id) %% 3 END",
)
HARSH = Shape(
    "harsh",
    """SELECT hour, 'team_' || s %% 20 AS team_id, 'key_' || s %% 40 AS key_id,
      'customer_' || s %% 100 AS customer_id, 'user_' || s %% 500 AS user_id,
      'feature_' || s %% 8 AS feature_id, 'prompt_' || s %% 25 AS prompt_key, s %% 3 AS prompt_version,
      s %% 12 AS model
    FROM (SELECT %(last)s - (random() * (%(hours)s - 1))::int AS hour,
      1 + (999 * power(random(), 2))::int AS s FROM generate_series(1, %(events)s)) drawn""",
    "'tag_' || hashtext(user_id) %% 10",
)

_ATTRIBUTED = "team_id, key_id, customer_id, user_id, feature_id, prompt_key, prompt_version"
_ROLL_UP = (
    """CREATE TEMP TABLE month AS SELECT hour, {attributed}, model, count(*) AS events, {tag} AS tag,
      md5(concat_ws('/', {attributed}, model)) AS series_id
    FROM ({events}) events GROUP BY hour, {attributed}, model""",
    """INSERT INTO series SELECT DISTINCT %(organization)s, series_id, {attributed},
      'TOKEN_USAGE', (ARRAY['openai', 'anthropic', 'google'])[1 + model %% 3], 'model_' || model, false
    FROM month""",
    """INSERT INTO rollups SELECT %(organization)s, hour, rows.tag, series_id, events, 0, 0, 0,
      events * (1000 + model), events * (2000 + model)
    FROM month, unnest(ARRAY['', month.tag]) rows (tag) WHERE rows.tag IS NOT NULL""",
    """INSERT INTO rollup_quantities SELECT organization_id, hour, tag, series_id, unit, event_count * 100, 0
    FROM rollups, unnest(ARRAY['input_tokens', 'output_tokens']) unit""",
    "DROP TABLE month",
)


def seed(settings: Settings, shape: Shape) -> dict[str, int]:
    """Write a month that ends now and return how many rows each table has of it."""
    values = {
        "organization": ORGANIZATION_ID,
        "events": EVENTS,
        "hours": HOURS,
        "last": time.time_ns() // 1000 // HOUR,
    }
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        for statement in _ROLL_UP:
            text = statement.format(attributed=_ATTRIBUTED, tag=shape.tag, events=shape.events)
            connection.execute(text, values)
        for statement in _backfill():
            connection.execute(statement)
        connection.execute(f"VACUUM ANALYZE {', '.join(_TABLES)}")
        return {table: _count(connection, table) for table in _TABLES}


def _backfill() -> list[str]:
    """What the migrations sum from the rollups of hours, as they would for an older store."""
    texts = dict(migrations())
    parts = [part for name in _BACKFILLS for part in texts[name].split(";\n")]
    return [part for part in parts if "INSERT INTO" in part and "FROM" in part]


def _count(connection: psycopg.Connection, table: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - fixed names
    return int(row[0]) if row else 0
