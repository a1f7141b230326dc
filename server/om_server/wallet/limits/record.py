"""The tables of limits. What each column means is said by the value that it becomes."""

import peewee

from om_server.storage.database import Record


class LimitRow(Record):
    organization_id = peewee.TextField()
    limit_id = peewee.TextField()
    feature_id = peewee.TextField()
    user_id = peewee.TextField()
    customer_id = peewee.TextField()
    team_id = peewee.TextField()
    key_id = peewee.TextField()
    tag = peewee.TextField()
    each_user = peewee.BooleanField()
    unit = peewee.TextField()
    revisions = peewee.TextField()
    metadata = peewee.TextField()
    create_time = peewee.BigIntegerField()

    class Meta:
        table_name = "limits"
        primary_key = peewee.CompositeKey("organization_id", "limit_id")


class CounterRow(Record):
    organization_id = peewee.TextField()
    limit_id = peewee.TextField()
    user_id = peewee.TextField()
    reserved = peewee.BigIntegerField()

    class Meta:
        table_name = "limit_counters"
        primary_key = peewee.CompositeKey("organization_id", "limit_id", "user_id")


class ReservationRow(Record):
    organization_id = peewee.TextField()
    lease_id = peewee.TextField()
    limit_id = peewee.TextField()
    user_id = peewee.TextField()
    unit = peewee.TextField()
    amount = peewee.BigIntegerField()
    event_source = peewee.TextField()
    event_id = peewee.TextField()

    class Meta:
        table_name = "limit_reservations"
        primary_key = peewee.CompositeKey("organization_id", "lease_id", "limit_id")


LIMIT_MODELS: tuple[type[Record], ...] = (LimitRow, CounterRow, ReservationRow)
