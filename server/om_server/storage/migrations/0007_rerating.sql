-- Settled events that were rated again: what every rating before was, and how far each request has come.

-- A revision is added with the money that it moved and never changes. Its number is the version of the event:
-- the group of entries is named by both.
CREATE TABLE event_revisions (
  organization_id TEXT NOT NULL,
  source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  revision INTEGER NOT NULL CHECK (revision > 0),
  rerate_id TEXT NOT NULL,
  cost_before BIGINT NOT NULL,
  cost_after BIGINT NOT NULL,
  charge_before BIGINT NOT NULL,
  charge_after BIGINT NOT NULL,
  wallet_difference BIGINT NOT NULL,
  burn_table_before TEXT NOT NULL,
  burn_table_after TEXT NOT NULL,
  prices_before TEXT NOT NULL,
  prices_after TEXT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, source, event_id, revision)
);

-- only sqlite
CREATE TRIGGER event_revisions_never_change BEFORE UPDATE ON event_revisions
  BEGIN SELECT RAISE(ABORT, 'revisions never change'); END;

-- only postgresql
CREATE FUNCTION refuse_revision_change() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN RAISE EXCEPTION ''revisions never change'' USING ERRCODE = ''restrict_violation''; END';

-- only postgresql
CREATE TRIGGER event_revisions_never_change BEFORE UPDATE ON event_revisions
  FOR EACH ROW EXECUTE FUNCTION refuse_revision_change();

-- The place is that of the last event that was looked at; empty before the first. Who asked is a key or a member.
CREATE TABLE rerates (
  organization_id TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  request_hash TEXT NOT NULL,
  rerate_id TEXT NOT NULL,
  request TEXT NOT NULL,
  actor TEXT NOT NULL,
  place TEXT NOT NULL,
  finished BOOLEAN NOT NULL,
  report TEXT NOT NULL,
  create_time BIGINT NOT NULL,
  update_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, idempotency_key)
);
