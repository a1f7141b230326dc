-- People: members, their sessions, invites and password resets. Secrets are kept as SHA-256, passwords as
-- Argon2id. Three tables have no organization in their key, because they are read before it is known:
-- member_lookups, secret_lookups and address_attempts hold hashes and no tenant content.

CREATE TABLE members (
  organization_id TEXT NOT NULL REFERENCES organizations (organization_id),
  member_id TEXT NOT NULL,
  email TEXT NOT NULL,
  display_name TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('OWNER', 'MEMBER')),
  password_hash TEXT NOT NULL,
  email_proven BOOLEAN NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, member_id)
);

CREATE TABLE member_lookups (
  email_hash TEXT PRIMARY KEY,
  organization_id TEXT NOT NULL,
  member_id TEXT NOT NULL
);

-- Without a foreign key: a session of a removed member is never found, and one that begins while the
-- member is removed must not be an error of the database.
CREATE TABLE sessions (
  organization_id TEXT NOT NULL,
  session_id TEXT NOT NULL,
  member_id TEXT NOT NULL,
  secret_hash TEXT NOT NULL,
  create_time BIGINT NOT NULL,
  use_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, session_id),
  UNIQUE (organization_id, secret_hash)
);

CREATE INDEX sessions_by_member ON sessions (organization_id, member_id);

CREATE TABLE password_resets (
  organization_id TEXT NOT NULL,
  secret_hash TEXT NOT NULL,
  member_id TEXT NOT NULL,
  expire_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, secret_hash)
);

CREATE TABLE invites (
  organization_id TEXT NOT NULL,
  invite_id TEXT NOT NULL,
  email TEXT NOT NULL,
  role TEXT NOT NULL CHECK (role IN ('OWNER', 'MEMBER')),
  secret_hash TEXT NOT NULL,
  expire_time BIGINT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, invite_id),
  UNIQUE (organization_id, email)
);

CREATE TABLE secret_lookups (
  secret_hash TEXT PRIMARY KEY,
  organization_id TEXT NOT NULL,
  expire_time BIGINT NOT NULL
);

CREATE INDEX secret_lookups_by_expire_time ON secret_lookups (expire_time);

CREATE TABLE address_attempts (
  purpose TEXT NOT NULL,
  email_hash TEXT NOT NULL,
  attempt_count BIGINT NOT NULL,
  window_time BIGINT NOT NULL,
  PRIMARY KEY (purpose, email_hash)
);

CREATE INDEX address_attempts_by_window_time ON address_attempts (purpose, window_time);
