-- Organizations that registered themselves: where each is reached, and its published plan.

CREATE TABLE registrations (
  organization_id TEXT NOT NULL REFERENCES organizations (organization_id),
  email TEXT NOT NULL UNIQUE,
  tier TEXT NOT NULL CHECK (tier IN ('STARTER', 'GROWTH', 'ENTERPRISE')),
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id)
);
