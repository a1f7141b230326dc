-- Monthly quotas of plans, where an installation sets them, and organizations that may use nothing for now.

-- How many events were taken in within a calendar month of UTC, such as 2026-01.
CREATE TABLE monthly_intake (
  organization_id TEXT NOT NULL,
  month TEXT NOT NULL,
  event_count BIGINT NOT NULL,
  PRIMARY KEY (organization_id, month)
);

-- Which events of the running month were counted, so that one that is sent again counts once.
CREATE TABLE counted_events (
  organization_id TEXT NOT NULL,
  source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  month TEXT NOT NULL,
  PRIMARY KEY (organization_id, source, event_id)
);

ALTER TABLE organizations ADD COLUMN suspend_time BIGINT;

-- Edges hear of each key that it ends, or with 0 that what they heard does not hold any more.
-- only postgresql
CREATE FUNCTION note_suspension() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO changes (kind, organization_id, subject_id, edge_id, value)
    SELECT 'key_revoked', organization_id, key_id, '', COALESCE(NEW.suspend_time, 0)
    FROM api_keys WHERE organization_id = NEW.organization_id AND revoke_time IS NULL; RETURN NULL; END $$;

-- only postgresql
CREATE TRIGGER note_suspension AFTER UPDATE OF suspend_time ON organizations FOR EACH ROW
  WHEN (NEW.suspend_time IS DISTINCT FROM OLD.suspend_time)
  EXECUTE FUNCTION note_suspension();

-- only sqlite
CREATE TRIGGER note_suspension AFTER UPDATE OF suspend_time ON organizations
  WHEN NEW.suspend_time IS NOT OLD.suspend_time
  BEGIN INSERT INTO changes (kind, organization_id, subject_id, edge_id, value)
    SELECT 'key_revoked', organization_id, key_id, '', COALESCE(NEW.suspend_time, 0)
    FROM api_keys WHERE organization_id = NEW.organization_id AND revoke_time IS NULL; END;
