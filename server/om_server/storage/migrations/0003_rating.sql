-- Prices and burn tables of organizations. Rows are added and never change: a change is another row.

-- The version changes with every write below; whoever writes locks the row, whoever rates compares it.
CREATE TABLE tariffs (
  organization_id TEXT PRIMARY KEY,
  tariff_version TEXT NOT NULL
);

CREATE TABLE prices (
  organization_id TEXT NOT NULL,
  price_id TEXT NOT NULL,
  provider TEXT NOT NULL,
  model TEXT NOT NULL,
  tier TEXT NOT NULL,
  rates TEXT NOT NULL,
  effective_from BIGINT,
  effective_to BIGINT,
  idempotency_key TEXT NOT NULL,
  request_hash TEXT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, price_id),
  UNIQUE (organization_id, idempotency_key),
  CHECK (effective_to > effective_from)
);

CREATE TABLE burn_tables (
  organization_id TEXT NOT NULL,
  burn_table_id TEXT NOT NULL,
  customer_id TEXT NOT NULL,
  display_name TEXT NOT NULL,
  rules TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  request_hash TEXT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, burn_table_id),
  UNIQUE (organization_id, idempotency_key)
);

CREATE TABLE burn_table_activations (
  organization_id TEXT NOT NULL,
  activation_id TEXT NOT NULL,
  customer_id TEXT NOT NULL,
  burn_table_id TEXT NOT NULL,
  effective_time BIGINT NOT NULL,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, activation_id)
);

-- only sqlite
CREATE TRIGGER prices_never_change BEFORE UPDATE ON prices
  BEGIN SELECT RAISE(ABORT, 'prices never change'); END;

-- only sqlite
CREATE TRIGGER burn_tables_never_change BEFORE UPDATE ON burn_tables
  BEGIN SELECT RAISE(ABORT, 'burn tables never change'); END;

-- only sqlite
CREATE TRIGGER burn_table_activations_never_change BEFORE UPDATE ON burn_table_activations
  BEGIN SELECT RAISE(ABORT, 'activations never change'); END;

-- only postgresql
CREATE FUNCTION refuse_tariff_change() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN RAISE EXCEPTION ''prices and burn tables never change'' USING ERRCODE = ''restrict_violation''; END';

-- only postgresql
CREATE TRIGGER prices_never_change BEFORE UPDATE ON prices
  FOR EACH ROW EXECUTE FUNCTION refuse_tariff_change();

-- only postgresql
CREATE TRIGGER burn_tables_never_change BEFORE UPDATE ON burn_tables
  FOR EACH ROW EXECUTE FUNCTION refuse_tariff_change();

-- only postgresql
CREATE TRIGGER burn_table_activations_never_change BEFORE UPDATE ON burn_table_activations
  FOR EACH ROW EXECUTE FUNCTION refuse_tariff_change();
