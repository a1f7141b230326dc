"""Tables of prices and burn tables. The caller opens the transaction; every query names its organization."""

from collections.abc import Sequence
from typing import Any

import peewee

from om_server.core.errors import IdempotencyKeyReused
from om_server.rating.price import Price
from om_server.rating.rule_text import read_rates, read_rules, write_rates, write_rules
from om_server.rating.stored import Request, StoredActivation, StoredBurnTable, StoredPrice
from om_server.storage.database import Database, Record
from om_server.storage.statement import Statement, given


class TariffRow(Record):
    organization_id = peewee.TextField(primary_key=True)
    tariff_version = peewee.TextField()

    class Meta:
        table_name = "tariffs"


class PriceRow(Record):
    organization_id = peewee.TextField()
    price_id = peewee.TextField()
    provider = peewee.TextField()
    model = peewee.TextField()
    tier = peewee.TextField()
    rates = peewee.TextField()
    effective_from = peewee.BigIntegerField(null=True)
    effective_to = peewee.BigIntegerField(null=True)
    idempotency_key = peewee.TextField()
    request_hash = peewee.TextField()
    create_time = peewee.BigIntegerField()

    class Meta:
        table_name = "prices"
        primary_key = peewee.CompositeKey("organization_id", "price_id")


class BurnTableRow(Record):
    organization_id = peewee.TextField()
    burn_table_id = peewee.TextField()
    customer_id = peewee.TextField()
    display_name = peewee.TextField()
    rules = peewee.TextField()
    idempotency_key = peewee.TextField()
    request_hash = peewee.TextField()
    create_time = peewee.BigIntegerField()

    class Meta:
        table_name = "burn_tables"
        primary_key = peewee.CompositeKey("organization_id", "burn_table_id")


class ActivationRow(Record):
    organization_id = peewee.TextField()
    activation_id = peewee.TextField()
    customer_id = peewee.TextField()
    burn_table_id = peewee.TextField()
    effective_time = peewee.BigIntegerField()
    create_time = peewee.BigIntegerField()

    class Meta:
        table_name = "burn_table_activations"
        primary_key = peewee.CompositeKey("organization_id", "activation_id")


MODELS: tuple[type[Record], ...] = (TariffRow, PriceRow, BurnTableRow, ActivationRow)


class TariffStore:
    """Prices and burn tables of every organization."""

    def __init__(self, database: Database) -> None:
        self._database = database
        query: peewee.ModelSelect[Any] = TariffRow.select(TariffRow.tariff_version).where(
            TariffRow.organization_id == given("organization_id")
        )
        self._version = Statement(database, query)

    def version(self, organization_id: str) -> str:
        """Return the version of what is stored; empty where there is nothing."""
        row = self._version.row(organization_id=organization_id)
        return str(row[0]) if row else ""

    def versions(self) -> dict[str, str]:
        """Return the version of every organization that has stored something."""
        return {row.organization_id: row.tariff_version for row in TariffRow.select()}

    def lock(self, organization_id: str) -> None:
        """Let nobody else write to the tariff until the transaction ends."""
        # A row that is not there cannot be locked.
        TariffRow.insert(organization_id=organization_id, tariff_version="").on_conflict_ignore().execute()
        query: peewee.ModelSelect[Any] = TariffRow.select().where(
            TariffRow.organization_id == organization_id
        )
        list(self._database.locked(query))

    def advance(self, organization_id: str, version: str) -> None:
        """Name what this transaction makes of the tariff. Nobody may have used the name before."""
        TariffRow.update(tariff_version=version).where(TariffRow.organization_id == organization_id).execute()

    def prices(self, organization_id: str) -> list[StoredPrice]:
        """Return every price, oldest first."""
        query = PriceRow.select().where(PriceRow.organization_id == organization_id)
        return [_price_from_row(row) for row in query.order_by(PriceRow.price_id)]

    def price_of(self, organization_id: str, request: Request) -> StoredPrice | None:
        """Return the price that was stored for a request; IDEMPOTENCY_KEY_REUSED if it was another's."""
        row = PriceRow.get_or_none(*_asked(PriceRow, organization_id, request))
        if row is not None and row.request_hash != request.request_hash:
            raise IdempotencyKeyReused("CreatePrice")
        return None if row is None else _price_from_row(row)

    def add_price(self, organization_id: str, stored: StoredPrice, request: Request) -> None:
        price = stored.price
        PriceRow.insert(
            organization_id=organization_id,
            price_id=price.version,
            provider=price.provider,
            model=price.model,
            tier=price.tier,
            rates=write_rates(price.rates),
            effective_from=price.effective_from,
            effective_to=price.effective_to,
            idempotency_key=request.idempotency_key,
            request_hash=request.request_hash,
            create_time=stored.create_time,
        ).execute()

    def find_burn_table(self, organization_id: str, burn_table_id: str) -> StoredBurnTable | None:
        row = BurnTableRow.get_or_none(
            BurnTableRow.organization_id == organization_id, BurnTableRow.burn_table_id == burn_table_id
        )
        return None if row is None else _burn_table_from_row(row)

    def burn_table_of(self, organization_id: str, request: Request) -> StoredBurnTable | None:
        """Return the table that was stored for a request; IDEMPOTENCY_KEY_REUSED if it was another's."""
        row = BurnTableRow.get_or_none(*_asked(BurnTableRow, organization_id, request))
        if row is not None and row.request_hash != request.request_hash:
            raise IdempotencyKeyReused("CreateBurnTable")
        return None if row is None else _burn_table_from_row(row)

    def active_burn_tables(self, organization_id: str) -> list[StoredBurnTable]:
        """Return the tables that were ever activated."""
        active = ActivationRow.select(ActivationRow.burn_table_id).where(
            ActivationRow.organization_id == organization_id
        )
        query = BurnTableRow.select().where(
            (BurnTableRow.organization_id == organization_id) & BurnTableRow.burn_table_id.in_(active)
        )
        return [_burn_table_from_row(row) for row in query]

    def page_burn_tables(
        self, organization_id: str, *, customer_id: str, before: str, limit: int
    ) -> list[StoredBurnTable]:
        """Return tables, newest first; of one customer where one is named."""
        query = BurnTableRow.select().where(BurnTableRow.organization_id == organization_id)
        if customer_id:
            query = query.where(BurnTableRow.customer_id == customer_id)
        if before:
            query = query.where(BurnTableRow.burn_table_id < before)
        return [
            _burn_table_from_row(row)
            for row in query.order_by(BurnTableRow.burn_table_id.desc()).limit(limit)
        ]

    def add_burn_table(self, organization_id: str, stored: StoredBurnTable, request: Request) -> None:
        BurnTableRow.insert(
            organization_id=organization_id,
            burn_table_id=stored.burn_table_id,
            customer_id=stored.customer_id,
            display_name=stored.display_name,
            rules=write_rules(stored.rules),
            idempotency_key=request.idempotency_key,
            request_hash=request.request_hash,
            create_time=stored.create_time,
        ).execute()

    def activations(self, organization_id: str) -> list[StoredActivation]:
        """Return every activation by time; of two at one time the later written is last."""
        query = ActivationRow.select().where(ActivationRow.organization_id == organization_id)
        return [
            StoredActivation(row.activation_id, row.customer_id, row.burn_table_id, row.effective_time)
            for row in query.order_by(
                ActivationRow.effective_time, ActivationRow.create_time, ActivationRow.activation_id
            )
        ]

    def add_activation(self, organization_id: str, activation: StoredActivation, *, now: int) -> None:
        ActivationRow.insert(
            organization_id=organization_id,
            activation_id=activation.activation_id,
            customer_id=activation.customer_id,
            burn_table_id=activation.burn_table_id,
            effective_time=activation.effective_time,
            create_time=now,
        ).execute()


def _asked(
    row: type[PriceRow] | type[BurnTableRow], organization_id: str, request: Request
) -> Sequence[peewee.Expression]:
    return (row.organization_id == organization_id, row.idempotency_key == request.idempotency_key)


def _price_from_row(row: PriceRow) -> StoredPrice:
    price = Price(
        version=row.price_id,
        provider=row.provider,
        model=row.model,
        rates=read_rates(row.rates),
        tier=row.tier,
        effective_from=row.effective_from,
        effective_to=row.effective_to,
    )
    return StoredPrice(price, row.create_time)


def _burn_table_from_row(row: BurnTableRow) -> StoredBurnTable:
    return StoredBurnTable(
        burn_table_id=row.burn_table_id,
        display_name=row.display_name,
        customer_id=row.customer_id,
        rules=read_rules(row.rules),
        create_time=row.create_time,
    )
