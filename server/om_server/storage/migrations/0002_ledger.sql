-- Holds of API keys, the hash chain of each wallet's entries, and the rule that entries stay as they are.

ALTER TABLE wallets ADD COLUMN chain_hash TEXT NOT NULL DEFAULT '';

-- Entries up to this position are older than the chain and have no hash.
ALTER TABLE wallets ADD COLUMN chain_start BIGINT NOT NULL DEFAULT 0;

UPDATE wallets SET chain_start = entry_sequence;

ALTER TABLE entries ADD COLUMN entry_hash TEXT NOT NULL DEFAULT '';

CREATE INDEX entries_by_event ON entries (organization_id, event_id, event_source) WHERE event_id <> '';

CREATE INDEX entries_clearing ON entries (organization_id, group_id)
  WHERE debit_account = 'clearing' OR credit_account = 'clearing';

CREATE INDEX wallets_by_overflow ON wallets (organization_id, overflow_wallet_id)
  WHERE overflow_wallet_id IS NOT NULL;

CREATE TABLE holds (
  organization_id TEXT NOT NULL,
  hold_id TEXT NOT NULL,
  wallet_id TEXT NOT NULL,
  amount BIGINT NOT NULL CHECK (amount > 0),
  captured BIGINT CHECK (captured >= 0),
  state TEXT NOT NULL,
  expire_time BIGINT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, hold_id),
  FOREIGN KEY (organization_id, wallet_id) REFERENCES wallets (organization_id, wallet_id),
  CHECK (captured <= amount),
  CHECK ((captured IS NULL) = (state = 'pending'))
);

CREATE INDEX holds_pending ON holds (organization_id, wallet_id, expire_time) WHERE state = 'pending';

CREATE TABLE hold_slices (
  organization_id TEXT NOT NULL,
  hold_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  wallet_id TEXT NOT NULL,
  grant_id TEXT NOT NULL,
  amount BIGINT NOT NULL CHECK (amount > 0),
  held BIGINT NOT NULL CHECK (held >= 0),
  PRIMARY KEY (organization_id, hold_id, position),
  CHECK (held <= amount)
);

-- only sqlite
CREATE TRIGGER entries_never_change BEFORE UPDATE ON entries
  BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END;

-- only sqlite
CREATE TRIGGER entries_never_go BEFORE DELETE ON entries
  BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END;

-- only postgresql
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN RAISE EXCEPTION ''entries are append-only'' USING ERRCODE = ''restrict_violation''; END';

-- only postgresql
CREATE TRIGGER entries_never_change BEFORE UPDATE OR DELETE ON entries
  FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- only postgresql
CREATE TRIGGER entries_never_go BEFORE TRUNCATE ON entries
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
