"""The tables of people. What each column means is said by the value that it becomes."""

import peewee

from om_server.storage.database import Record


class MemberRow(Record):
    organization_id = peewee.TextField()
    member_id = peewee.TextField()
    email = peewee.TextField()
    display_name = peewee.TextField()
    role = peewee.TextField()
    password_hash = peewee.TextField()
    email_proven = peewee.BooleanField()
    create_time = peewee.BigIntegerField()

    class Meta:
        table_name = "members"
        primary_key = peewee.CompositeKey("organization_id", "member_id")


class MemberLookupRow(Record):
    """Whose account has the address with this hash; it makes an address belong to one account."""

    email_hash = peewee.TextField(primary_key=True)
    organization_id = peewee.TextField()
    member_id = peewee.TextField()

    class Meta:
        table_name = "member_lookups"


class SessionRow(Record):
    organization_id = peewee.TextField()
    session_id = peewee.TextField()
    member_id = peewee.TextField()
    secret_hash = peewee.TextField()
    create_time = peewee.BigIntegerField()
    use_time = peewee.BigIntegerField()

    class Meta:
        table_name = "sessions"
        primary_key = peewee.CompositeKey("organization_id", "session_id")


class PasswordResetRow(Record):
    organization_id = peewee.TextField()
    secret_hash = peewee.TextField()
    member_id = peewee.TextField()
    expire_time = peewee.BigIntegerField()

    class Meta:
        table_name = "password_resets"
        primary_key = peewee.CompositeKey("organization_id", "secret_hash")


class InviteRow(Record):
    organization_id = peewee.TextField()
    invite_id = peewee.TextField()
    email = peewee.TextField()
    role = peewee.TextField()
    secret_hash = peewee.TextField()
    expire_time = peewee.BigIntegerField()
    create_time = peewee.BigIntegerField()

    class Meta:
        table_name = "invites"
        primary_key = peewee.CompositeKey("organization_id", "invite_id")


class SecretLookupRow(Record):
    """In which organization the secret with this hash means something, and until when at the latest."""

    secret_hash = peewee.TextField(primary_key=True)
    organization_id = peewee.TextField()
    expire_time = peewee.BigIntegerField()

    class Meta:
        table_name = "secret_lookups"


class AddressAttemptsRow(Record):
    purpose = peewee.TextField()
    email_hash = peewee.TextField()
    attempt_count = peewee.BigIntegerField()
    window_time = peewee.BigIntegerField()

    class Meta:
        table_name = "address_attempts"
        primary_key = peewee.CompositeKey("purpose", "email_hash")


MODELS: tuple[type[Record], ...] = (
    MemberRow,
    MemberLookupRow,
    SessionRow,
    PasswordResetRow,
    InviteRow,
    SecretLookupRow,
    AddressAttemptsRow,
)
