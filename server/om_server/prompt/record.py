"""The prompt slice's tables. What each column means is said by the value that it becomes."""

import peewee

from om_server.storage.database import Record


class PromptRow(Record):
    organization_id = peewee.TextField()
    prompt_key = peewee.TextField()
    description = peewee.TextField()
    auto_created = peewee.BooleanField()
    version_count = peewee.IntegerField()
    active_version = peewee.IntegerField(null=True)
    active_since = peewee.BigIntegerField()
    create_time = peewee.BigIntegerField()

    class Meta:
        table_name = "prompts"
        primary_key = peewee.CompositeKey("organization_id", "prompt_key")


class VersionRow(Record):
    """A version. `activated` tells whether it was active when it was added, as the answer said."""

    organization_id = peewee.TextField()
    prompt_key = peewee.TextField()
    version = peewee.IntegerField()
    model = peewee.TextField()
    temperature = peewee.DoubleField(null=True)
    max_tokens = peewee.BigIntegerField(null=True)
    metadata = peewee.TextField()
    activated = peewee.BooleanField()
    idempotency_key = peewee.TextField()
    request_hash = peewee.TextField()
    create_time = peewee.BigIntegerField()

    class Meta:
        table_name = "prompt_versions"
        primary_key = peewee.CompositeKey("organization_id", "prompt_key", "version")


class ActivationRow(Record):
    organization_id = peewee.TextField()
    prompt_key = peewee.TextField()
    from_time = peewee.BigIntegerField()
    version = peewee.IntegerField(null=True)

    class Meta:
        table_name = "prompt_activations"
        primary_key = peewee.CompositeKey("organization_id", "prompt_key", "from_time")


MODELS: tuple[type[Record], ...] = (PromptRow, VersionRow, ActivationRow)
