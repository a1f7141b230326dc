-- Prompts by key, their versions, and which version was active when. Never any content.

-- At most one version is active, because there is one column for it, and only one that exists.
-- It is so since the last activation; 0 before the first.
CREATE TABLE prompts (
  organization_id TEXT NOT NULL,
  prompt_key TEXT NOT NULL,
  description TEXT NOT NULL,
  auto_created BOOLEAN NOT NULL,
  version_count INTEGER NOT NULL CHECK (version_count >= 0),
  active_version INTEGER,
  active_since BIGINT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, prompt_key),
  CHECK (active_version BETWEEN 1 AND version_count)
);

CREATE TABLE prompt_versions (
  organization_id TEXT NOT NULL,
  prompt_key TEXT NOT NULL,
  version INTEGER NOT NULL CHECK (version >= 1),
  model TEXT NOT NULL,
  temperature DOUBLE PRECISION,
  max_tokens BIGINT,
  metadata TEXT NOT NULL,
  activated BOOLEAN NOT NULL,
  idempotency_key TEXT NOT NULL,
  request_hash TEXT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, prompt_key, version),
  UNIQUE (organization_id, idempotency_key),
  FOREIGN KEY (organization_id, prompt_key) REFERENCES prompts (organization_id, prompt_key)
);

-- No version: from then on none is active.
CREATE TABLE prompt_activations (
  organization_id TEXT NOT NULL,
  prompt_key TEXT NOT NULL,
  from_time BIGINT NOT NULL,
  version INTEGER,
  PRIMARY KEY (organization_id, prompt_key, from_time),
  FOREIGN KEY (organization_id, prompt_key) REFERENCES prompts (organization_id, prompt_key),
  FOREIGN KEY (organization_id, prompt_key, version)
    REFERENCES prompt_versions (organization_id, prompt_key, version)
);

-- only sqlite
CREATE TRIGGER prompt_versions_never_change BEFORE UPDATE ON prompt_versions
  BEGIN SELECT RAISE(ABORT, 'versions of prompts never change'); END;

-- only sqlite
CREATE TRIGGER prompt_activations_never_change BEFORE UPDATE ON prompt_activations
  BEGIN SELECT RAISE(ABORT, 'activations never change'); END;

-- only postgresql
CREATE FUNCTION refuse_prompt_change() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN RAISE EXCEPTION ''versions of prompts never change'' USING ERRCODE = ''restrict_violation''; END';

-- only postgresql
CREATE TRIGGER prompt_versions_never_change BEFORE UPDATE ON prompt_versions
  FOR EACH ROW EXECUTE FUNCTION refuse_prompt_change();

-- only postgresql
CREATE TRIGGER prompt_activations_never_change BEFORE UPDATE ON prompt_activations
  FOR EACH ROW EXECUTE FUNCTION refuse_prompt_change();
