-- Limits on what may be used, and what admitted calls have reserved of them. What is used is no column:
-- it is the sum of the rollups over the limit's window.

CREATE TABLE limits (
  organization_id TEXT NOT NULL,
  limit_id TEXT NOT NULL,
  feature_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  customer_id TEXT NOT NULL,
  team_id TEXT NOT NULL,
  key_id TEXT NOT NULL,
  tag TEXT NOT NULL,
  each_user BOOLEAN NOT NULL,
  unit TEXT NOT NULL,
  revisions TEXT NOT NULL,
  metadata TEXT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, limit_id)
);

CREATE INDEX limits_by_selector ON limits (organization_id, customer_id, user_id, feature_id);

-- The user is empty where all are counted together.
CREATE TABLE limit_counters (
  organization_id TEXT NOT NULL,
  limit_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  reserved BIGINT NOT NULL CHECK (reserved >= 0),
  PRIMARY KEY (organization_id, limit_id, user_id)
);

-- A row is deleted by the transaction in which its lease ends. One that names an event stays until the
-- event is rated.
CREATE TABLE limit_reservations (
  organization_id TEXT NOT NULL,
  lease_id TEXT NOT NULL,
  limit_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  unit TEXT NOT NULL,
  amount BIGINT NOT NULL CHECK (amount >= 0),
  event_source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  PRIMARY KEY (organization_id, lease_id, limit_id)
);

CREATE INDEX limit_reservations_by_limit ON limit_reservations (organization_id, limit_id);

CREATE INDEX limit_reservations_by_event ON limit_reservations (organization_id, event_id);

-- A limit sums few series over many hours. Settling seldom inserts into these: an hour's rows are updated,
-- and no column of an index changes with that.
CREATE INDEX rollups_by_series ON rollups (organization_id, series_id, tag, hour);

CREATE INDEX rollup_quantities_by_series ON rollup_quantities (organization_id, series_id, tag, unit, hour);
