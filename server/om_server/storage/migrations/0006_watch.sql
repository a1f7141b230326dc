-- What edges must know at once, as one log that every process reads, and which of their events are settled.
-- Triggers write it, so that no way of changing a key, a wallet or a limit can forget to.

-- Where a reader stands is told by transactions on PostgreSQL, whose ids are in no order of commit, and by
-- ids on SQLite. In a row of the kind 'settled' the value is the first of the sequences.
-- only postgresql
CREATE TABLE changes (
  change_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  transaction_id BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
  kind TEXT NOT NULL,
  organization_id TEXT NOT NULL,
  subject_id TEXT NOT NULL,
  edge_id TEXT NOT NULL,
  edge_epoch BIGINT NOT NULL DEFAULT 0,
  value BIGINT NOT NULL,
  last_sequence BIGINT NOT NULL DEFAULT 0,
  create_time BIGINT NOT NULL DEFAULT ((extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
);

-- The row with the highest id is never deleted, so SQLite gives no id twice.
-- only sqlite
CREATE TABLE changes (
  change_id INTEGER NOT NULL PRIMARY KEY,
  transaction_id BIGINT NOT NULL DEFAULT 0,
  kind TEXT NOT NULL,
  organization_id TEXT NOT NULL,
  subject_id TEXT NOT NULL,
  edge_id TEXT NOT NULL,
  edge_epoch BIGINT NOT NULL DEFAULT 0,
  value BIGINT NOT NULL,
  last_sequence BIGINT NOT NULL DEFAULT 0,
  create_time BIGINT NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))
);

-- only postgresql
CREATE INDEX changes_by_transaction ON changes (transaction_id);

CREATE INDEX changes_settled ON changes (edge_id) WHERE kind = 'settled';

-- What left the log, merged; an edge has as few rows as its settled sequences have gaps.
CREATE TABLE settled_ranges (
  edge_id TEXT NOT NULL,
  edge_epoch BIGINT NOT NULL,
  first_sequence BIGINT NOT NULL,
  last_sequence BIGINT NOT NULL,
  update_time BIGINT NOT NULL,
  PRIMARY KEY (edge_id, edge_epoch, first_sequence),
  CHECK (first_sequence <= last_sequence)
);

-- Kind, then the columns that name the subject and the value.
-- only postgresql
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
  DECLARE fields jsonb := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END); BEGIN
    INSERT INTO changes (kind, organization_id, subject_id, edge_id, value) VALUES (
      TG_ARGV[0],
      fields ->> 'organization_id',
      COALESCE(fields ->> TG_ARGV[1], ''),
      COALESCE(fields ->> 'edge_id', ''),
      COALESCE((fields ->> TG_ARGV[2])::bigint, 0)
    ); RETURN NULL; END $$;

-- only postgresql
CREATE TRIGGER note_key_revoked AFTER UPDATE OF revoke_time ON api_keys FOR EACH ROW
  WHEN (NEW.revoke_time IS NOT NULL AND OLD.revoke_time IS NULL)
  EXECUTE FUNCTION note_change('key_revoked', 'key_id', 'revoke_time');

-- only postgresql
CREATE TRIGGER note_key_expiry AFTER UPDATE OF expire_time ON api_keys FOR EACH ROW
  WHEN (NEW.expire_time IS NOT NULL AND NEW.expire_time IS DISTINCT FROM OLD.expire_time)
  EXECUTE FUNCTION note_change('key_revoked', 'key_id', 'expire_time');

-- only postgresql
CREATE TRIGGER note_wallet_changed AFTER INSERT OR UPDATE ON wallet_resolutions FOR EACH ROW
  EXECUTE FUNCTION note_change('wallet_changed', '', 'resolution_version');

-- A wallet on credit has run out at its limit, one without at zero.
-- only postgresql
CREATE TRIGGER note_funds_changed AFTER UPDATE OF available ON wallets FOR EACH ROW
  WHEN ((NEW.available > 0) <> (OLD.available > 0)
    OR (NEW.available > -NEW.credit_limit) <> (OLD.available > -OLD.credit_limit))
  EXECUTE FUNCTION note_change('funds_changed', 'wallet_id', 'available');

-- only postgresql
CREATE TRIGGER note_lease_recalled AFTER UPDATE OF recall_time ON leases FOR EACH ROW
  WHEN (NEW.recall_time IS NOT NULL AND OLD.recall_time IS NULL)
  EXECUTE FUNCTION note_change('lease_recalled', 'lease_id', 'recall_time');

-- only postgresql
CREATE TRIGGER note_limits_changed AFTER INSERT OR UPDATE OR DELETE ON limits FOR EACH ROW
  EXECUTE FUNCTION note_change('limits_changed', '', '');

-- only postgresql
CREATE TRIGGER note_rate_card_changed AFTER INSERT OR UPDATE ON tariffs FOR EACH ROW
  EXECUTE FUNCTION note_change('rate_card_changed', '', '');

-- only sqlite
CREATE TRIGGER note_key_revoked AFTER UPDATE OF revoke_time ON api_keys
  WHEN NEW.revoke_time IS NOT NULL AND OLD.revoke_time IS NULL
  BEGIN INSERT INTO changes (kind, organization_id, subject_id, edge_id, value)
    VALUES ('key_revoked', NEW.organization_id, NEW.key_id, '', NEW.revoke_time); END;

-- only sqlite
CREATE TRIGGER note_key_expiry AFTER UPDATE OF expire_time ON api_keys
  WHEN NEW.expire_time IS NOT NULL AND NEW.expire_time IS NOT OLD.expire_time
  BEGIN INSERT INTO changes (kind, organization_id, subject_id, edge_id, value)
    VALUES ('key_revoked', NEW.organization_id, NEW.key_id, '', NEW.expire_time); END;

-- only sqlite
CREATE TRIGGER note_first_wallet AFTER INSERT ON wallet_resolutions
  BEGIN INSERT INTO changes (kind, organization_id, subject_id, edge_id, value)
    VALUES ('wallet_changed', NEW.organization_id, '', '', NEW.resolution_version); END;

-- only sqlite
CREATE TRIGGER note_wallet_changed AFTER UPDATE ON wallet_resolutions
  BEGIN INSERT INTO changes (kind, organization_id, subject_id, edge_id, value)
    VALUES ('wallet_changed', NEW.organization_id, '', '', NEW.resolution_version); END;

-- only sqlite
CREATE TRIGGER note_funds_changed AFTER UPDATE OF available ON wallets
  WHEN (NEW.available > 0) <> (OLD.available > 0)
    OR (NEW.available > -NEW.credit_limit) <> (OLD.available > -OLD.credit_limit)
  BEGIN INSERT INTO changes (kind, organization_id, subject_id, edge_id, value)
    VALUES ('funds_changed', NEW.organization_id, NEW.wallet_id, '', NEW.available); END;

-- only sqlite
CREATE TRIGGER note_lease_recalled AFTER UPDATE OF recall_time ON leases
  WHEN NEW.recall_time IS NOT NULL AND OLD.recall_time IS NULL
  BEGIN INSERT INTO changes (kind, organization_id, subject_id, edge_id, value)
    VALUES ('lease_recalled', NEW.organization_id, NEW.lease_id, NEW.edge_id, NEW.recall_time); END;

-- only sqlite
CREATE TRIGGER note_limit_created AFTER INSERT ON limits
  BEGIN INSERT INTO changes (kind, organization_id, subject_id, edge_id, value)
    VALUES ('limits_changed', NEW.organization_id, '', '', 0); END;

-- only sqlite
CREATE TRIGGER note_limit_changed AFTER UPDATE ON limits
  BEGIN INSERT INTO changes (kind, organization_id, subject_id, edge_id, value)
    VALUES ('limits_changed', NEW.organization_id, '', '', 0); END;

-- only sqlite
CREATE TRIGGER note_limit_deleted AFTER DELETE ON limits
  BEGIN INSERT INTO changes (kind, organization_id, subject_id, edge_id, value)
    VALUES ('limits_changed', OLD.organization_id, '', '', 0); END;

-- only sqlite
CREATE TRIGGER note_first_tariff AFTER INSERT ON tariffs
  BEGIN INSERT INTO changes (kind, organization_id, subject_id, edge_id, value)
    VALUES ('rate_card_changed', NEW.organization_id, '', '', 0); END;

-- only sqlite
CREATE TRIGGER note_rate_card_changed AFTER UPDATE ON tariffs
  BEGIN INSERT INTO changes (kind, organization_id, subject_id, edge_id, value)
    VALUES ('rate_card_changed', NEW.organization_id, '', '', 0); END;
