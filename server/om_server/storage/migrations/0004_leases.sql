-- What edges declare about leases, which leases are wanted back, and money whose end is not known yet.

-- What the events of a lease keep, at most; NULL until the edge declares it.
ALTER TABLE leases ADD COLUMN keep BIGINT CHECK (keep >= 0);

ALTER TABLE leases ADD COLUMN recall_time BIGINT;

CREATE INDEX leases_by_id ON leases (lease_id);

CREATE INDEX leases_recalled ON leases (edge_id, recall_time) WHERE recall_time IS NOT NULL;

-- Held for an event that has no price yet, or in suspense until an owner decides. A lease or an event is
-- its cause.
CREATE TABLE escrows (
  organization_id TEXT NOT NULL,
  escrow_id TEXT NOT NULL,
  wallet_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  suspended BOOLEAN NOT NULL,
  pending BOOLEAN NOT NULL,
  lease_id TEXT NOT NULL,
  event_source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  amount BIGINT NOT NULL CHECK (amount >= 0),
  create_time BIGINT NOT NULL,
  decided BIGINT,
  PRIMARY KEY (organization_id, escrow_id)
);

CREATE UNIQUE INDEX escrows_by_event ON escrows (organization_id, event_source, event_id) WHERE event_id <> '';

CREATE UNIQUE INDEX escrows_by_lease ON escrows (organization_id, lease_id) WHERE lease_id <> '';

CREATE INDEX escrows_suspended ON escrows (organization_id, create_time, escrow_id) WHERE suspended AND pending;

CREATE TABLE escrow_slices (
  organization_id TEXT NOT NULL,
  escrow_id TEXT NOT NULL,
  position INTEGER NOT NULL,
  wallet_id TEXT NOT NULL,
  grant_id TEXT NOT NULL,
  amount BIGINT NOT NULL CHECK (amount > 0),
  held BIGINT NOT NULL CHECK (held >= 0),
  PRIMARY KEY (organization_id, escrow_id, position),
  CHECK (held <= amount)
);

-- Whether the money of an edge's event that was set aside has been moved, and its lease has counted it.
ALTER TABLE dead_letters ADD COLUMN counted BOOLEAN NOT NULL DEFAULT FALSE;

CREATE INDEX dead_letters_uncounted ON dead_letters (create_time, dead_letter_id) WHERE source = 'proxy' AND NOT counted;
