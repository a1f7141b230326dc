-- What a key says about its calls, and the end that its owner gave it: a rotation moves only the other one.

-- Empty is the proxy's own setting.
ALTER TABLE api_keys ADD COLUMN on_disconnect TEXT NOT NULL DEFAULT '' CHECK (on_disconnect IN ('', 'cancel', 'drain'));

-- Such as chat=drain, sorted, with a comma between.
ALTER TABLE api_keys ADD COLUMN on_disconnect_by_operation TEXT NOT NULL DEFAULT '';

ALTER TABLE api_keys ADD COLUMN clamp_output BOOLEAN NOT NULL DEFAULT FALSE;

ALTER TABLE api_keys ADD COLUMN owner_expire_time BIGINT;

-- Of a key in its overlap nobody knows any more what its owner said.
UPDATE api_keys SET owner_expire_time = expire_time;

-- Edges ask again about a key of which they hear, and believe it no longer than it lasts; 0 is no end.
-- only postgresql
CREATE TRIGGER note_key_settings AFTER UPDATE OF on_disconnect, on_disconnect_by_operation, clamp_output
  ON api_keys FOR EACH ROW
  WHEN (NEW.revoke_time IS NULL)
  EXECUTE FUNCTION note_change('key_revoked', 'key_id', 'expire_time');

-- only sqlite
CREATE TRIGGER note_key_settings AFTER UPDATE OF on_disconnect, on_disconnect_by_operation, clamp_output
  ON api_keys
  WHEN NEW.revoke_time IS NULL
  BEGIN INSERT INTO changes (kind, organization_id, subject_id, edge_id, value)
    VALUES ('key_revoked', NEW.organization_id, NEW.key_id, '', COALESCE(NEW.expire_time, 0)); END;
