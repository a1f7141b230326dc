-- Streams of settled events, and rollups by the UTC day beside those by the hour: a month of days is read in the
-- time that a day of hours takes.

-- Which events were settled when, for whoever watches them: one row for each time of each organization, as small
-- as a transaction of settlement is large. Read by one poller of each process, as `changes` is.

-- only postgresql
CREATE TABLE settlements (
  settlement_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  transaction_id BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
  organization_id TEXT NOT NULL,
  settle_time BIGINT NOT NULL,
  create_time BIGINT NOT NULL DEFAULT ((extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
);

-- only sqlite
CREATE TABLE settlements (
  settlement_id INTEGER NOT NULL PRIMARY KEY,
  transaction_id BIGINT NOT NULL DEFAULT 0,
  organization_id TEXT NOT NULL,
  settle_time BIGINT NOT NULL,
  create_time BIGINT NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))
);

-- only postgresql
CREATE INDEX settlements_by_transaction ON settlements (transaction_id);

-- The oldest row that is left says how far back the table is complete. This one says: to the beginning.
INSERT INTO settlements (transaction_id, organization_id, settle_time) VALUES (0, '', 0);

CREATE INDEX usage_events_by_settle_time ON usage_events (organization_id, settle_time);

CREATE TABLE daily_rollups (
  organization_id TEXT NOT NULL,
  day BIGINT NOT NULL,
  tag TEXT NOT NULL,
  series_id TEXT NOT NULL,
  event_count BIGINT NOT NULL,
  unrated_count BIGINT NOT NULL,
  estimated_count BIGINT NOT NULL,
  unknown_count BIGINT NOT NULL,
  cost BIGINT NOT NULL,
  charge BIGINT NOT NULL,
  PRIMARY KEY (organization_id, day, tag, series_id)
);

CREATE TABLE daily_rollup_quantities (
  organization_id TEXT NOT NULL,
  day BIGINT NOT NULL,
  tag TEXT NOT NULL,
  series_id TEXT NOT NULL,
  unit TEXT NOT NULL,
  amount BIGINT NOT NULL,
  estimated_amount BIGINT NOT NULL,
  PRIMARY KEY (organization_id, day, tag, series_id, unit)
);

INSERT INTO daily_rollups
  SELECT organization_id, hour / 24, tag, series_id, SUM(event_count), SUM(unrated_count), SUM(estimated_count),
    SUM(unknown_count), SUM(cost), SUM(charge)
  FROM rollups GROUP BY organization_id, hour / 24, tag, series_id;

INSERT INTO daily_rollup_quantities
  SELECT organization_id, hour / 24, tag, series_id, unit, SUM(amount), SUM(estimated_amount)
  FROM rollup_quantities GROUP BY organization_id, hour / 24, tag, series_id, unit;
