-- Work that goes on at a provider after its call: the outcome DEFERRED and the terminal object meet in one row.

-- The event is empty until a DEFERRED is seen. The terminal is an envelope while it waits for its
-- DEFERRED; a row without a due time waits for nothing that a clock could end.
CREATE TABLE jobs (
  organization_id TEXT NOT NULL,
  provider TEXT NOT NULL,
  job_id TEXT NOT NULL,
  state TEXT NOT NULL,
  event_source TEXT NOT NULL,
  event_id TEXT NOT NULL,
  terminal TEXT NOT NULL,
  due_time BIGINT,
  create_time BIGINT NOT NULL,
  PRIMARY KEY (organization_id, provider, job_id),
  CHECK ((state = 'parked') = (terminal <> ''))
);

CREATE INDEX jobs_due ON jobs (due_time, organization_id, provider, job_id) WHERE due_time IS NOT NULL;
