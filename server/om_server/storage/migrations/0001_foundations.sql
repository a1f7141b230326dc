-- Times are microseconds since 1970 in UTC. Amounts are nano-units. JSON is text.
-- Every table has organization_id in its key but incarnations, edges and key_lookups, which hold
-- no tenant content.

CREATE TABLE incarnations (
  incarnation TEXT PRIMARY KEY,
  create_time BIGINT NOT NULL
);

CREATE TABLE edges (
  edge_id TEXT PRIMARY KEY,
  edge_epoch BIGINT NOT NULL,
  instance TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  resync_time BIGINT NOT NULL
);

CREATE TABLE organizations (
  organization_id TEXT PRIMARY KEY,
  display_name TEXT NOT NULL,
  user_wallet_required BOOLEAN NOT NULL,
  unknown_outcome_policy TEXT NOT NULL,
  create_time BIGINT NOT NULL
);

CREATE TABLE teams (
  organization_id TEXT NOT NULL REFERENCES organizations (organization_id),
  team_id TEXT NOT NULL,
  display_name TEXT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, team_id),
  UNIQUE (organization_id, display_name)
);

CREATE TABLE api_keys (
  organization_id TEXT NOT NULL,
  key_id TEXT NOT NULL,
  team_id TEXT NOT NULL,
  masked_secret TEXT NOT NULL,
  description TEXT NOT NULL,
  scopes TEXT NOT NULL,
  test_mode BOOLEAN NOT NULL,
  expire_time BIGINT,
  revoke_time BIGINT,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, key_id),
  FOREIGN KEY (organization_id, team_id) REFERENCES teams (organization_id, team_id)
);

CREATE TABLE key_lookups (
  key_hash TEXT PRIMARY KEY,
  key_id TEXT NOT NULL UNIQUE,
  organization_id TEXT NOT NULL
);

CREATE TABLE customers (
  organization_id TEXT NOT NULL,
  customer_id TEXT NOT NULL,
  display_name TEXT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, customer_id)
);

CREATE TABLE end_users (
  organization_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  email TEXT NOT NULL,
  metadata TEXT NOT NULL,
  create_time BIGINT NOT NULL,
  update_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, user_id)
);

CREATE TABLE wallets (
  organization_id TEXT NOT NULL,
  wallet_id TEXT NOT NULL,
  owner_kind TEXT NOT NULL,
  owner_id TEXT NOT NULL,
  mode TEXT NOT NULL,
  blocked BOOLEAN NOT NULL,
  available BIGINT NOT NULL,
  held BIGINT NOT NULL CHECK (held >= 0),
  receivable BIGINT NOT NULL CHECK (receivable >= 0),
  credit_limit BIGINT NOT NULL CHECK (credit_limit >= 0),
  overflow_wallet_id TEXT,
  entry_sequence BIGINT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, wallet_id),
  UNIQUE (organization_id, owner_kind, owner_id),
  CHECK (available >= -credit_limit)
);

CREATE TABLE wallet_resolutions (
  organization_id TEXT PRIMARY KEY,
  resolution_version BIGINT NOT NULL
);

CREATE TABLE grants (
  organization_id TEXT NOT NULL,
  grant_id TEXT NOT NULL,
  wallet_id TEXT NOT NULL,
  credit_line BOOLEAN NOT NULL,
  amount BIGINT NOT NULL CHECK (amount >= 0),
  available BIGINT NOT NULL,
  held BIGINT NOT NULL CHECK (held >= 0),
  priority INTEGER NOT NULL,
  expire_time BIGINT,
  price_currency TEXT,
  price_amount BIGINT,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, grant_id),
  FOREIGN KEY (organization_id, wallet_id) REFERENCES wallets (organization_id, wallet_id),
  CHECK (credit_line OR available >= 0)
);

CREATE INDEX grants_by_wallet ON grants (organization_id, wallet_id);

CREATE TABLE entries (
  organization_id TEXT NOT NULL,
  wallet_id TEXT NOT NULL,
  sequence BIGINT NOT NULL,
  entry_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  debit_account TEXT NOT NULL,
  credit_account TEXT NOT NULL,
  amount BIGINT NOT NULL CHECK (amount > 0),
  grant_id TEXT NOT NULL,
  hold_id TEXT NOT NULL,
  event_source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  group_id TEXT NOT NULL,
  description TEXT NOT NULL,
  available_after BIGINT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, wallet_id, sequence),
  CHECK (debit_account <> credit_account)
);

CREATE TABLE leases (
  organization_id TEXT NOT NULL,
  lease_id TEXT NOT NULL,
  wallet_id TEXT NOT NULL,
  edge_id TEXT NOT NULL,
  edge_epoch BIGINT NOT NULL,
  admit_key TEXT NOT NULL,
  request_hash TEXT NOT NULL,
  amount BIGINT NOT NULL CHECK (amount >= 0),
  remaining BIGINT NOT NULL CHECK (remaining >= 0),
  max_intents INTEGER NOT NULL,
  final_count INTEGER,
  settled_count INTEGER NOT NULL,
  state TEXT NOT NULL,
  expire_time BIGINT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, lease_id),
  UNIQUE (organization_id, admit_key),
  CHECK (remaining <= amount)
);

CREATE INDEX leases_by_wallet ON leases (organization_id, wallet_id, create_time);

CREATE INDEX leases_by_edge ON leases (edge_id, edge_epoch) WHERE state NOT IN ('closed', 'resolved');

CREATE TABLE lease_slices (
  organization_id TEXT NOT NULL,
  lease_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  wallet_id TEXT NOT NULL,
  grant_id TEXT NOT NULL,
  amount BIGINT NOT NULL CHECK (amount > 0),
  held BIGINT NOT NULL CHECK (held >= 0),
  PRIMARY KEY (organization_id, lease_id, position),
  CHECK (held <= amount)
);

CREATE TABLE idempotency_keys (
  organization_id TEXT NOT NULL,
  operation TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  request_hash TEXT NOT NULL,
  response TEXT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, operation, idempotency_key)
);

CREATE TABLE inbox (
  organization_id TEXT NOT NULL,
  batch_id TEXT NOT NULL,
  envelope TEXT NOT NULL,
  event_count INTEGER NOT NULL,
  attempt_count INTEGER NOT NULL,
  retry_time BIGINT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, batch_id)
);

CREATE INDEX inbox_by_retry_time ON inbox (retry_time, batch_id);

CREATE TABLE event_identities (
  organization_id TEXT NOT NULL,
  source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  payload_hash TEXT NOT NULL,
  PRIMARY KEY (organization_id, source, event_id)
);

CREATE TABLE event_keys (
  organization_id TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  payload_hash TEXT NOT NULL,
  PRIMARY KEY (organization_id, idempotency_key)
);

CREATE TABLE usage_events (
  organization_id TEXT NOT NULL,
  source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  event_type TEXT NOT NULL,
  state TEXT NOT NULL,
  outcome TEXT NOT NULL,
  sandbox BOOLEAN NOT NULL,
  unfunded BOOLEAN NOT NULL,
  team_id TEXT NOT NULL,
  key_id TEXT NOT NULL,
  customer_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  feature_id TEXT NOT NULL,
  prompt_key TEXT NOT NULL,
  prompt_version INTEGER,
  tags TEXT NOT NULL,
  metadata TEXT NOT NULL,
  flags TEXT NOT NULL,
  unrated_reason TEXT NOT NULL,
  cost BIGINT,
  charge BIGINT,
  burn_table_version TEXT NOT NULL,
  wallet_id TEXT NOT NULL,
  funding TEXT NOT NULL,
  receivable BIGINT NOT NULL,
  edge_id TEXT NOT NULL,
  edge_epoch BIGINT,
  edge_sequence BIGINT,
  http_status INTEGER NOT NULL,
  latency_ms BIGINT,
  idempotency_key TEXT NOT NULL,
  job_id TEXT NOT NULL,
  event_time BIGINT NOT NULL,
  receive_time BIGINT NOT NULL,
  settle_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, source, event_id)
);

CREATE INDEX usage_events_by_time ON usage_events (organization_id, event_time DESC, event_id DESC);

CREATE INDEX usage_events_unrated ON usage_events (organization_id, event_time) WHERE state = 'UNRATED';

CREATE TABLE usage_lines (
  organization_id TEXT NOT NULL,
  source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  requested_model TEXT NOT NULL,
  tier TEXT NOT NULL,
  quantities TEXT NOT NULL,
  attributes TEXT NOT NULL,
  raw_usage TEXT NOT NULL,
  priced_model TEXT NOT NULL,
  price_version TEXT NOT NULL,
  context_threshold BIGINT NOT NULL,
  cost BIGINT,
  charge BIGINT,
  PRIMARY KEY (organization_id, source, event_id, position)
);

CREATE TABLE dead_letters (
  organization_id TEXT NOT NULL,
  dead_letter_id TEXT NOT NULL,
  source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  message TEXT NOT NULL,
  attempt_count INTEGER NOT NULL,
  envelope TEXT NOT NULL,
  receive_time BIGINT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, dead_letter_id),
  UNIQUE (organization_id, source, event_id)
);

CREATE TABLE series (
  organization_id TEXT NOT NULL,
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
  PRIMARY KEY (organization_id, series_id)
);

CREATE TABLE rollups (
  organization_id TEXT NOT NULL,
  hour BIGINT NOT NULL,
  tag TEXT NOT NULL,
  series_id TEXT NOT NULL,
  event_count BIGINT NOT NULL,
  unrated_count BIGINT NOT NULL,
  estimated_count BIGINT NOT NULL,
  unknown_count BIGINT NOT NULL,
  cost BIGINT NOT NULL,
  charge BIGINT NOT NULL,
  PRIMARY KEY (organization_id, hour, tag, series_id)
);

CREATE TABLE rollup_quantities (
  organization_id TEXT NOT NULL,
  hour BIGINT NOT NULL,
  tag TEXT NOT NULL,
  series_id TEXT NOT NULL,
  unit TEXT NOT NULL,
  amount BIGINT NOT NULL,
  estimated_amount BIGINT NOT NULL,
  PRIMARY KEY (organization_id, hour, tag, series_id, unit)
);
