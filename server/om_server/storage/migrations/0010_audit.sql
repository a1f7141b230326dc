-- Who changed what, when keys were used, and who was registered before or after he was first seen.

-- Rows are only ever added, and the database sees to it.

CREATE TABLE audit_records (
  organization_id TEXT NOT NULL,
  audit_record_id TEXT NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  object_type TEXT NOT NULL,
  object_id TEXT NOT NULL,
  state_before TEXT,
  state_after TEXT,
  request_id TEXT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, audit_record_id)
);

CREATE INDEX audit_records_by_time ON audit_records (organization_id, create_time, audit_record_id);

-- only postgresql
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN RAISE EXCEPTION 'audit records are never changed'; END $$;

-- only postgresql
CREATE TRIGGER keep_audit_records BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_records
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

-- only sqlite
CREATE TRIGGER keep_audit_records BEFORE UPDATE ON audit_records
  BEGIN SELECT RAISE(ABORT, 'audit records are never changed'); END;

-- only sqlite
CREATE TRIGGER keep_removed_audit_records BEFORE DELETE ON audit_records
  BEGIN SELECT RAISE(ABORT, 'audit records are never changed'); END;

CREATE TABLE key_uses (
  organization_id TEXT NOT NULL,
  key_id TEXT NOT NULL,
  last_use_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, key_id)
);

INSERT INTO key_uses (organization_id, key_id, last_use_time)
  SELECT organization_id, key_id, MAX(event_time) FROM usage_events WHERE key_id <> ''
  GROUP BY organization_id, key_id;

ALTER TABLE customers ADD COLUMN registered BOOLEAN NOT NULL DEFAULT FALSE;

ALTER TABLE end_users ADD COLUMN registered BOOLEAN NOT NULL DEFAULT FALSE;
