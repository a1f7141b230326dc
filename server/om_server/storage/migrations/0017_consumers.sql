-- Sums by who called one provider, which are asked for as those of all providers are, and indexes by which the few
-- series of one customer or one user are found. Series are seldom added, so that settling does not feel the indexes.

CREATE INDEX series_by_customer ON series (organization_id, customer_id);

CREATE INDEX series_by_user ON series (organization_id, user_id);

-- A facet for each provider, by the day, for all tags together and without quantities. It has three times the rows of
-- the consumers of all providers, which are read faster without them.
CREATE TABLE daily_consumer_rollups (
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

-- Ids are lent as in 0015.
INSERT INTO facet_series
  SELECT organization_id, 'consumer:' || provider, MIN(series_id), '', '', customer_id, user_id, '', '', NULL, '',
    provider, '', sandbox
  FROM series
  GROUP BY organization_id, customer_id, user_id, provider, sandbox;

INSERT INTO daily_consumer_rollups
  SELECT r.organization_id, 'consumer:' || f.provider, r.day, r.tag, f.series_id, SUM(event_count), SUM(unrated_count),
    SUM(estimated_count), SUM(unknown_count), SUM(cost / 4294967296), SUM(cost - cost / 4294967296 * 4294967296),
    SUM(charge / 4294967296), SUM(charge - charge / 4294967296 * 4294967296)
  FROM daily_rollups r JOIN (
    SELECT organization_id, series_id AS whole_id, provider,
      MIN(series_id) OVER (PARTITION BY organization_id, customer_id, user_id, provider, sandbox) AS series_id
    FROM series
  ) f ON f.organization_id = r.organization_id AND f.whole_id = r.series_id
  WHERE r.tag = ''
  GROUP BY r.organization_id, f.provider, r.day, r.tag, f.series_id;
