"""The account slice's tables. What each column means is said by the value that it becomes."""

import peewee

from om_server.storage.database import Record


class OrganizationRow(Record):
    organization_id = peewee.TextField(primary_key=True)
    display_name = peewee.TextField()
    user_wallet_required = peewee.BooleanField()
    unknown_outcome_policy = peewee.TextField()
    create_time = peewee.BigIntegerField()
    suspend_time = peewee.BigIntegerField(null=True)

    class Meta:
        table_name = "organizations"


class TeamRow(Record):
    organization_id = peewee.TextField()
    team_id = peewee.TextField()
    display_name = peewee.TextField()
    create_time = peewee.BigIntegerField()

    class Meta:
        table_name = "teams"
        primary_key = peewee.CompositeKey("organization_id", "team_id")


class KeyRow(Record):
    organization_id = peewee.TextField()
    key_id = peewee.TextField()
    team_id = peewee.TextField()
    masked_secret = peewee.TextField()
    description = peewee.TextField()
    # Names of scopes, sorted, with a blank between.
    scopes = peewee.TextField()
    test_mode = peewee.BooleanField()
    expire_time = peewee.BigIntegerField(null=True)
    revoke_time = peewee.BigIntegerField(null=True)
    create_time = peewee.BigIntegerField()
    on_disconnect = peewee.TextField()
    # Such as chat=drain, sorted, with a comma between.
    on_disconnect_by_operation = peewee.TextField()
    clamp_output = peewee.BooleanField()
    owner_expire_time = peewee.BigIntegerField(null=True)

    class Meta:
        table_name = "api_keys"
        primary_key = peewee.CompositeKey("organization_id", "key_id")


class KeyLookupRow(Record):
    """Whose key has this hash. No tenant content, so that it can be read before the tenant is known."""

    key_hash = peewee.TextField(primary_key=True)
    key_id = peewee.TextField()
    organization_id = peewee.TextField()

    class Meta:
        table_name = "key_lookups"


class KeyUseRow(Record):
    """When a key was last used. Apart from the key, which stays as it is while others read it."""

    organization_id = peewee.TextField()
    key_id = peewee.TextField()
    last_use_time = peewee.BigIntegerField()

    class Meta:
        table_name = "key_uses"
        primary_key = peewee.CompositeKey("organization_id", "key_id")


class CustomerRow(Record):
    organization_id = peewee.TextField()
    customer_id = peewee.TextField()
    display_name = peewee.TextField()
    create_time = peewee.BigIntegerField()
    registered = peewee.BooleanField()

    class Meta:
        table_name = "customers"
        primary_key = peewee.CompositeKey("organization_id", "customer_id")


class UserRow(Record):
    organization_id = peewee.TextField()
    user_id = peewee.TextField()
    email = peewee.TextField()
    metadata = peewee.TextField()
    create_time = peewee.BigIntegerField()
    update_time = peewee.BigIntegerField()
    registered = peewee.BooleanField()

    class Meta:
        table_name = "end_users"
        primary_key = peewee.CompositeKey("organization_id", "user_id")


MODELS: tuple[type[Record], ...] = (
    OrganizationRow,
    TeamRow,
    KeyRow,
    KeyLookupRow,
    KeyUseRow,
    CustomerRow,
    UserRow,
)
