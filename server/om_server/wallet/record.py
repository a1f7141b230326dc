"""The wallet slice's tables. What each column means is said by the value that it becomes."""

import peewee

from om_server.storage.database import Record


class WalletRow(Record):
    organization_id = peewee.TextField()
    wallet_id = peewee.TextField()
    owner_kind = peewee.TextField()
    owner_id = peewee.TextField()
    mode = peewee.TextField()
    blocked = peewee.BooleanField()
    available = peewee.BigIntegerField()
    held = peewee.BigIntegerField()
    receivable = peewee.BigIntegerField()
    credit_limit = peewee.BigIntegerField()
    overflow_wallet_id = peewee.TextField(null=True)
    entry_sequence = peewee.BigIntegerField()
    create_time = peewee.BigIntegerField()
    chain_hash = peewee.TextField(default="")
    chain_start = peewee.BigIntegerField(default=0)

    class Meta:
        table_name = "wallets"
        primary_key = peewee.CompositeKey("organization_id", "wallet_id")


class ResolutionRow(Record):
    organization_id = peewee.TextField(primary_key=True)
    resolution_version = peewee.BigIntegerField()

    class Meta:
        table_name = "wallet_resolutions"


class GrantRow(Record):
    organization_id = peewee.TextField()
    grant_id = peewee.TextField()
    wallet_id = peewee.TextField()
    credit_line = peewee.BooleanField()
    amount = peewee.BigIntegerField()
    available = peewee.BigIntegerField()
    held = peewee.BigIntegerField()
    priority = peewee.IntegerField()
    expire_time = peewee.BigIntegerField(null=True)
    price_currency = peewee.TextField(null=True)
    price_amount = peewee.BigIntegerField(null=True)
    create_time = peewee.BigIntegerField()

    class Meta:
        table_name = "grants"
        primary_key = peewee.CompositeKey("organization_id", "grant_id")


class EntryRow(Record):
    organization_id = peewee.TextField()
    wallet_id = peewee.TextField()
    sequence = peewee.BigIntegerField()
    entry_id = peewee.TextField()
    kind = peewee.TextField()
    debit_account = peewee.TextField()
    credit_account = peewee.TextField()
    amount = peewee.BigIntegerField()
    grant_id = peewee.TextField()
    hold_id = peewee.TextField()
    event_source = peewee.TextField()
    event_id = peewee.TextField()
    group_id = peewee.TextField()
    description = peewee.TextField()
    available_after = peewee.BigIntegerField()
    create_time = peewee.BigIntegerField()
    entry_hash = peewee.TextField()

    class Meta:
        table_name = "entries"
        primary_key = peewee.CompositeKey("organization_id", "wallet_id", "sequence")


class LeaseRow(Record):
    organization_id = peewee.TextField()
    lease_id = peewee.TextField()
    wallet_id = peewee.TextField()
    edge_id = peewee.TextField()
    edge_epoch = peewee.BigIntegerField()
    admit_key = peewee.TextField()
    request_hash = peewee.TextField()
    amount = peewee.BigIntegerField()
    remaining = peewee.BigIntegerField()
    max_intents = peewee.IntegerField()
    final_count = peewee.IntegerField(null=True)
    settled_count = peewee.IntegerField()
    state = peewee.TextField()
    expire_time = peewee.BigIntegerField()
    create_time = peewee.BigIntegerField()
    keep = peewee.BigIntegerField(null=True)
    recall_time = peewee.BigIntegerField(null=True)

    class Meta:
        table_name = "leases"
        primary_key = peewee.CompositeKey("organization_id", "lease_id")


class SliceRow(Record):
    organization_id = peewee.TextField()
    lease_id = peewee.TextField()
    position = peewee.IntegerField()
    wallet_id = peewee.TextField()
    grant_id = peewee.TextField()
    amount = peewee.BigIntegerField()
    held = peewee.BigIntegerField()

    class Meta:
        table_name = "lease_slices"
        primary_key = peewee.CompositeKey("organization_id", "lease_id", "position")


class EscrowRow(Record):
    organization_id = peewee.TextField()
    escrow_id = peewee.TextField()
    wallet_id = peewee.TextField()
    kind = peewee.TextField()
    suspended = peewee.BooleanField()
    pending = peewee.BooleanField()
    lease_id = peewee.TextField()
    event_source = peewee.TextField()
    event_id = peewee.TextField()
    amount = peewee.BigIntegerField()
    create_time = peewee.BigIntegerField()
    decided = peewee.BigIntegerField(null=True)

    class Meta:
        table_name = "escrows"
        primary_key = peewee.CompositeKey("organization_id", "escrow_id")


class EscrowSliceRow(Record):
    organization_id = peewee.TextField()
    escrow_id = peewee.TextField()
    position = peewee.IntegerField()
    wallet_id = peewee.TextField()
    grant_id = peewee.TextField()
    amount = peewee.BigIntegerField()
    held = peewee.BigIntegerField()

    class Meta:
        table_name = "escrow_slices"
        primary_key = peewee.CompositeKey("organization_id", "escrow_id", "position")


class HoldRow(Record):
    organization_id = peewee.TextField()
    hold_id = peewee.TextField()
    wallet_id = peewee.TextField()
    amount = peewee.BigIntegerField()
    captured = peewee.BigIntegerField(null=True)
    state = peewee.TextField()
    expire_time = peewee.BigIntegerField()
    create_time = peewee.BigIntegerField()

    class Meta:
        table_name = "holds"
        primary_key = peewee.CompositeKey("organization_id", "hold_id")


class HoldSliceRow(Record):
    organization_id = peewee.TextField()
    hold_id = peewee.TextField()
    position = peewee.IntegerField()
    wallet_id = peewee.TextField()
    grant_id = peewee.TextField()
    amount = peewee.BigIntegerField()
    held = peewee.BigIntegerField()

    class Meta:
        table_name = "hold_slices"
        primary_key = peewee.CompositeKey("organization_id", "hold_id", "position")


class AnswerRow(Record):
    organization_id = peewee.TextField()
    operation = peewee.TextField()
    idempotency_key = peewee.TextField()
    request_hash = peewee.TextField()
    response = peewee.TextField()
    create_time = peewee.BigIntegerField()

    class Meta:
        table_name = "idempotency_keys"
        primary_key = peewee.CompositeKey("organization_id", "operation", "idempotency_key")


class EdgeRow(Record):
    edge_id = peewee.TextField(primary_key=True)
    edge_epoch = peewee.BigIntegerField()
    instance = peewee.TextField()
    boot_id = peewee.TextField()
    resync_time = peewee.BigIntegerField()

    class Meta:
        table_name = "edges"


MODELS: tuple[type[Record], ...] = (
    WalletRow,
    ResolutionRow,
    GrantRow,
    EntryRow,
    LeaseRow,
    SliceRow,
    EscrowRow,
    EscrowSliceRow,
    HoldRow,
    HoldSliceRow,
    AnswerRow,
    EdgeRow,
)
