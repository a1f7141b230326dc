-- Sums by facet beside those by series. A facet is some of the dimensions of a series: what was called (team, key,
-- feature, prompt, model), who called (customer, user), or none. Nearly every question is about one of them, and has
-- far fewer rows to read than there are by all dimensions together. In a facet's series the other dimensions are empty.
-- What a series has fits 64 bits, and what all series of a day have may not: money is high * 2^32 + low.

CREATE TABLE facet_series (
  organization_id TEXT NOT NULL,
  facet TEXT NOT NULL,
  series_id TEXT NOT NULL,
  team_id TEXT NOT NULL,
  key_id TEXT NOT NULL,
  customer_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  feature_id TEXT NOT NULL,
  prompt_key TEXT NOT NULL,
  prompt_version INTEGER,
  event_type TEXT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  sandbox BOOLEAN NOT NULL,
  PRIMARY KEY (organization_id, facet, series_id)
);

CREATE TABLE facet_rollups (
  organization_id TEXT NOT NULL,
  facet TEXT NOT NULL,
  hour BIGINT NOT NULL,
  tag TEXT NOT NULL,
  series_id TEXT NOT NULL,
  event_count BIGINT NOT NULL,
  unrated_count BIGINT NOT NULL,
  estimated_count BIGINT NOT NULL,
  unknown_count BIGINT NOT NULL,
  cost_high BIGINT NOT NULL,
  cost_low BIGINT NOT NULL,
  charge_high BIGINT NOT NULL,
  charge_low BIGINT NOT NULL,
  PRIMARY KEY (organization_id, facet, hour, tag, series_id)
);

CREATE TABLE facet_rollup_quantities (
  organization_id TEXT NOT NULL,
  facet TEXT NOT NULL,
  hour BIGINT NOT NULL,
  tag TEXT NOT NULL,
  series_id TEXT NOT NULL,
  unit TEXT NOT NULL,
  amount BIGINT NOT NULL,
  estimated_amount BIGINT NOT NULL,
  PRIMARY KEY (organization_id, facet, hour, tag, series_id, unit)
);

CREATE TABLE daily_facet_rollups (
  organization_id TEXT NOT NULL,
  facet TEXT NOT NULL,
  day BIGINT NOT NULL,
  tag TEXT NOT NULL,
  series_id TEXT NOT NULL,
  event_count BIGINT NOT NULL,
  unrated_count BIGINT NOT NULL,
  estimated_count BIGINT NOT NULL,
  unknown_count BIGINT NOT NULL,
  cost_high BIGINT NOT NULL,
  cost_low BIGINT NOT NULL,
  charge_high BIGINT NOT NULL,
  charge_low BIGINT NOT NULL,
  PRIMARY KEY (organization_id, facet, day, tag, series_id)
);

CREATE TABLE daily_facet_rollup_quantities (
  organization_id TEXT NOT NULL,
  facet TEXT NOT NULL,
  day BIGINT NOT NULL,
  tag TEXT NOT NULL,
  series_id TEXT NOT NULL,
  unit TEXT NOT NULL,
  amount BIGINT NOT NULL,
  estimated_amount BIGINT NOT NULL,
  PRIMARY KEY (organization_id, facet, day, tag, series_id, unit)
);

-- Questions about one customer or one user, by what was called, sum few series over many days.
CREATE INDEX daily_rollups_by_series ON daily_rollups (organization_id, series_id, tag, day);

CREATE INDEX daily_rollup_quantities_by_series ON daily_rollup_quantities (organization_id, series_id, tag, unit, day);

-- A limit sums few series over many hours, as it does of the rollups by all dimensions.
CREATE INDEX facet_rollups_by_series ON facet_rollups (organization_id, facet, series_id, tag, hour);

CREATE INDEX facet_rollup_quantities_by_series
  ON facet_rollup_quantities (organization_id, facet, series_id, tag, unit, hour);

-- A list of users sums the days of few of them.
CREATE INDEX daily_facet_rollups_by_series ON daily_facet_rollups (organization_id, facet, series_id, tag, day);

CREATE INDEX daily_facet_rollup_quantities_by_series
  ON daily_facet_rollup_quantities (organization_id, facet, series_id, tag, unit, day);

-- What is left out of nearly every sum: the few series of the sandbox.
CREATE INDEX series_of_sandbox ON series (organization_id, series_id) WHERE sandbox;

-- The id of a series is a hash, which SQL cannot compute. Here one of the whole series lends its own: two series of
-- the same dimensions, this one and the next event's, are one group of an answer.
INSERT INTO facet_series
  SELECT organization_id, 'product', MIN(series_id), team_id, key_id, '', '', feature_id, prompt_key, prompt_version,
    event_type, provider, model, sandbox
  FROM series
  GROUP BY organization_id, team_id, key_id, feature_id, prompt_key, prompt_version, event_type, provider, model,
    sandbox;

INSERT INTO facet_series
  SELECT organization_id, 'consumer', MIN(series_id), '', '', customer_id, user_id, '', '', NULL, '', '', '', sandbox
  FROM series
  GROUP BY organization_id, customer_id, user_id, sandbox;

INSERT INTO facet_series
  SELECT organization_id, 'total', MIN(series_id), '', '', '', '', '', '', NULL, '', '', '', sandbox
  FROM series
  GROUP BY organization_id, sandbox;

INSERT INTO facet_rollups
  SELECT r.organization_id, 'product', r.hour, r.tag, f.series_id, SUM(event_count), SUM(unrated_count),
    SUM(estimated_count), SUM(unknown_count), SUM(cost / 4294967296), SUM(cost - cost / 4294967296 * 4294967296),
    SUM(charge / 4294967296), SUM(charge - charge / 4294967296 * 4294967296)
  FROM rollups r JOIN (
    SELECT organization_id, series_id AS whole_id,
      MIN(series_id) OVER (PARTITION BY organization_id, team_id, key_id, feature_id, prompt_key, prompt_version,
        event_type, provider, model, sandbox) AS series_id
    FROM series
  ) f ON f.organization_id = r.organization_id AND f.whole_id = r.series_id
  GROUP BY r.organization_id, r.hour, r.tag, f.series_id;

INSERT INTO facet_rollup_quantities
  SELECT r.organization_id, 'product', r.hour, r.tag, f.series_id, r.unit, SUM(amount), SUM(estimated_amount)
  FROM rollup_quantities r JOIN (
    SELECT organization_id, series_id AS whole_id,
      MIN(series_id) OVER (PARTITION BY organization_id, team_id, key_id, feature_id, prompt_key, prompt_version,
        event_type, provider, model, sandbox) AS series_id
    FROM series
  ) f ON f.organization_id = r.organization_id AND f.whole_id = r.series_id
  GROUP BY r.organization_id, r.hour, r.tag, f.series_id, r.unit;

INSERT INTO facet_rollups
  SELECT r.organization_id, 'total', r.hour, r.tag, f.series_id, SUM(event_count), SUM(unrated_count),
    SUM(estimated_count), SUM(unknown_count), SUM(cost / 4294967296), SUM(cost - cost / 4294967296 * 4294967296),
    SUM(charge / 4294967296), SUM(charge - charge / 4294967296 * 4294967296)
  FROM rollups r JOIN (
    SELECT organization_id, series_id AS whole_id,
      MIN(series_id) OVER (PARTITION BY organization_id, sandbox) AS series_id
    FROM series
  ) f ON f.organization_id = r.organization_id AND f.whole_id = r.series_id
  GROUP BY r.organization_id, r.hour, r.tag, f.series_id;

INSERT INTO facet_rollup_quantities
  SELECT r.organization_id, 'total', r.hour, r.tag, f.series_id, r.unit, SUM(amount), SUM(estimated_amount)
  FROM rollup_quantities r JOIN (
    SELECT organization_id, series_id AS whole_id,
      MIN(series_id) OVER (PARTITION BY organization_id, sandbox) AS series_id
    FROM series
  ) f ON f.organization_id = r.organization_id AND f.whole_id = r.series_id
  GROUP BY r.organization_id, r.hour, r.tag, f.series_id, r.unit;

INSERT INTO daily_facet_rollups
  SELECT r.organization_id, 'consumer', r.day, r.tag, f.series_id, SUM(event_count), SUM(unrated_count),
    SUM(estimated_count), SUM(unknown_count), SUM(cost / 4294967296), SUM(cost - cost / 4294967296 * 4294967296),
    SUM(charge / 4294967296), SUM(charge - charge / 4294967296 * 4294967296)
  FROM daily_rollups r JOIN (
    SELECT organization_id, series_id AS whole_id,
      MIN(series_id) OVER (PARTITION BY organization_id, customer_id, user_id, sandbox) AS series_id
    FROM series
  ) f ON f.organization_id = r.organization_id AND f.whole_id = r.series_id
  WHERE r.tag = ''
  GROUP BY r.organization_id, r.day, r.tag, f.series_id;

INSERT INTO daily_facet_rollup_quantities
  SELECT r.organization_id, 'consumer', r.day, r.tag, f.series_id, r.unit, SUM(amount), SUM(estimated_amount)
  FROM daily_rollup_quantities r JOIN (
    SELECT organization_id, series_id AS whole_id,
      MIN(series_id) OVER (PARTITION BY organization_id, customer_id, user_id, sandbox) AS series_id
    FROM series
  ) f ON f.organization_id = r.organization_id AND f.whole_id = r.series_id
  WHERE r.tag = ''
  GROUP BY r.organization_id, r.day, r.tag, f.series_id, r.unit;

INSERT INTO daily_facet_rollups
  SELECT organization_id, facet, hour / 24, tag, series_id, SUM(event_count), SUM(unrated_count), SUM(estimated_count),
    SUM(unknown_count), SUM(cost_high), SUM(cost_low), SUM(charge_high), SUM(charge_low)
  FROM facet_rollups GROUP BY organization_id, facet, hour / 24, tag, series_id;

INSERT INTO daily_facet_rollup_quantities
  SELECT organization_id, facet, hour / 24, tag, series_id, unit, SUM(amount), SUM(estimated_amount)
  FROM facet_rollup_quantities GROUP BY organization_id, facet, hour / 24, tag, series_id, unit;
