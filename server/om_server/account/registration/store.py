"""Registrations as they are kept."""

import peewee

from om_server.account.registration.registration import Registration, Tier
from om_server.storage.database import Record


class RegistrationRow(Record):
    organization_id = peewee.TextField(primary_key=True)
    #: In the one form that an address has here, so that it registers once.
    email = peewee.TextField()
    tier = peewee.TextField()
    create_time = peewee.BigIntegerField()

    class Meta:
        table_name = "registrations"


MODELS: tuple[type[Record], ...] = (RegistrationRow,)


class RegistrationStore:
    """Queries of registrations; the caller opens the transaction."""

    def add(self, organization_id: str, registration: Registration, *, now: int) -> bool:
        """Add a registration; False if the address has one."""
        insert = RegistrationRow.insert(
            organization_id=organization_id,
            email=registration.email,
            tier=registration.tier.value,
            create_time=now,
        )
        done = insert.on_conflict_ignore().returning(RegistrationRow.organization_id).execute()
        return bool(list(done))

    def find(self, organization_id: str) -> Registration | None:
        row = RegistrationRow.get_or_none(RegistrationRow.organization_id == organization_id)
        return None if row is None else Registration(row.email, Tier(row.tier))
