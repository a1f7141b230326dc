"""Tables of settled events; those of their sums are in rollup_table.py."""

import peewee

from om_server.storage.database import Record


class EventRow(Record):
    """A settled event: all that was reported of it, and what became of it."""

    organization_id = peewee.TextField()
    source = peewee.TextField()
    event_id = peewee.TextField()
    event_type = peewee.TextField()
    state = peewee.TextField()
    outcome = peewee.TextField()
    sandbox = peewee.BooleanField()
    unfunded = peewee.BooleanField()
    team_id = peewee.TextField()
    key_id = peewee.TextField()
    customer_id = peewee.TextField()
    user_id = peewee.TextField()
    feature_id = peewee.TextField()
    prompt_key = peewee.TextField()
    prompt_version = peewee.IntegerField(null=True)
    tags = peewee.TextField()
    metadata = peewee.TextField()
    flags = peewee.TextField()
    unrated_reason = peewee.TextField()
    cost = peewee.BigIntegerField(null=True)
    charge = peewee.BigIntegerField(null=True)
    burn_table_version = peewee.TextField()
    wallet_id = peewee.TextField()
    funding = peewee.TextField()
    receivable = peewee.BigIntegerField()
    edge_id = peewee.TextField()
    edge_epoch = peewee.BigIntegerField(null=True)
    edge_sequence = peewee.BigIntegerField(null=True)
    http_status = peewee.IntegerField()
    latency_ms = peewee.BigIntegerField(null=True)
    idempotency_key = peewee.TextField()
    job_id = peewee.TextField()
    event_time = peewee.BigIntegerField()
    receive_time = peewee.BigIntegerField()
    settle_time = peewee.BigIntegerField()

    class Meta:
        table_name = "usage_events"
        primary_key = peewee.CompositeKey("organization_id", "source", "event_id")


class LineRow(Record):
    """A line of a settled event."""

    organization_id = peewee.TextField()
    source = peewee.TextField()
    event_id = peewee.TextField()
    position = peewee.IntegerField()
    provider = peewee.TextField()
    model = peewee.TextField()
    requested_model = peewee.TextField()
    tier = peewee.TextField()
    quantities = peewee.TextField()
    attributes = peewee.TextField()
    raw_usage = peewee.TextField()
    priced_model = peewee.TextField()
    price_version = peewee.TextField()
    context_threshold = peewee.BigIntegerField()
    cost = peewee.BigIntegerField(null=True)
    charge = peewee.BigIntegerField(null=True)

    class Meta:
        table_name = "usage_lines"
        primary_key = peewee.CompositeKey("organization_id", "source", "event_id", "position")


class RevisionRow(Record):
    """One more rating of a settled event: what it was before and after, and what its wallets paid more."""

    organization_id = peewee.TextField()
    source = peewee.TextField()
    event_id = peewee.TextField()
    revision = peewee.IntegerField()
    rerate_id = peewee.TextField()
    cost_before = peewee.BigIntegerField()
    cost_after = peewee.BigIntegerField()
    charge_before = peewee.BigIntegerField()
    charge_after = peewee.BigIntegerField()
    wallet_difference = peewee.BigIntegerField()
    burn_table_before = peewee.TextField()
    burn_table_after = peewee.TextField()
    prices_before = peewee.TextField()
    prices_after = peewee.TextField()
    create_time = peewee.BigIntegerField()

    class Meta:
        table_name = "event_revisions"
        primary_key = peewee.CompositeKey("organization_id", "source", "event_id", "revision")


MODELS: tuple[type[Record], ...] = (EventRow, LineRow, RevisionRow)
