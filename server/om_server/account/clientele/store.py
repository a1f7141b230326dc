"""Customers and end users as they are kept. Every query names its organization."""

from collections.abc import Sequence
from typing import Any

import peewee

from om_server.account.listing import Position
from om_server.account.organization import Customer, User
from om_server.account.record import CustomerRow, UserRow
from om_server.account.store import oldest_first
from om_server.storage.batch import BatchWriter
from om_server.storage.database import Database

_KEEP = "ON CONFLICT DO NOTHING"


class ClienteleStore:
    """Queries of customers and end users; the caller opens the transaction. Adding twice changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._batch = BatchWriter(database)

    def add_customers(self, organization_id: str, customers: Sequence[Customer]) -> None:
        rows = [
            (
                organization_id,
                customer.customer_id,
                customer.display_name,
                customer.create_time,
                customer.registered,
            )
            for customer in customers
        ]
        self._batch.insert(CustomerRow, rows, on_conflict=_KEEP)

    def lock_customer(self, organization_id: str, *, customer_id: str) -> Customer | None:
        """Return a customer that is to be written; others who write it wait."""
        query: peewee.ModelSelect[Any] = CustomerRow.select().where(*_customer(organization_id, customer_id))
        row: Any = next(iter(self._database.locked(query)), None)
        return None if row is None else customer_from_row(row)

    def save_customer(self, organization_id: str, customer: Customer) -> None:
        CustomerRow.update(display_name=customer.display_name, registered=customer.registered).where(
            *_customer(organization_id, customer.customer_id)
        ).execute()

    def customers(
        self, organization_id: str, *, after: Position | None, skip: int, limit: int
    ) -> list[Customer]:
        query = CustomerRow.select().where(CustomerRow.organization_id == organization_id)
        query = oldest_first(query, CustomerRow.create_time, CustomerRow.customer_id, after=after)
        return [customer_from_row(row) for row in query.offset(skip).limit(limit)]

    def count_customers(self, organization_id: str) -> int:
        return CustomerRow.select().where(CustomerRow.organization_id == organization_id).count()

    def add_users(self, organization_id: str, users: Sequence[User]) -> None:
        rows = [
            (
                organization_id,
                user.user_id,
                user.email,
                user.metadata_json,
                user.create_time,
                user.update_time,
                user.registered,
            )
            for user in users
        ]
        self._batch.insert(UserRow, rows, on_conflict=_KEEP)

    def lock_user(self, organization_id: str, *, user_id: str) -> User | None:
        """Return an end user who is to be written; others who write him wait."""
        query: peewee.ModelSelect[Any] = UserRow.select().where(*_user(organization_id, user_id))
        row: Any = next(iter(self._database.locked(query)), None)
        return None if row is None else user_from_row(row)

    def save_user(self, organization_id: str, user: User) -> None:
        UserRow.update(
            email=user.email,
            metadata=user.metadata_json,
            update_time=user.update_time,
            registered=user.registered,
        ).where(*_user(organization_id, user.user_id)).execute()

    def find_user(self, organization_id: str, *, user_id: str) -> User | None:
        row = UserRow.get_or_none(*_user(organization_id, user_id))
        return None if row is None else user_from_row(row)

    def users(
        self, organization_id: str, search: str, *, after: Position | None, skip: int, limit: int
    ) -> list[User]:
        query = oldest_first(
            self._matching_users(organization_id, search), UserRow.create_time, UserRow.user_id, after=after
        )
        return [user_from_row(row) for row in query.offset(skip).limit(limit)]

    def count_users(self, organization_id: str, search: str) -> int:
        return self._matching_users(organization_id, search).count()

    def _matching_users(self, organization_id: str, search: str) -> "peewee.ModelSelect[UserRow]":
        query = UserRow.select().where(UserRow.organization_id == organization_id)
        if search:
            query = query.where(UserRow.user_id.contains(search) | UserRow.email.contains(search))
        return query


def customer_from_row(row: CustomerRow) -> Customer:
    return Customer(row.customer_id, row.display_name, row.create_time, row.registered)


def user_from_row(row: UserRow) -> User:
    return User(row.user_id, row.email, row.metadata, row.create_time, row.update_time, row.registered)


def _customer(organization_id: str, customer_id: str) -> tuple[Any, ...]:
    return CustomerRow.organization_id == organization_id, CustomerRow.customer_id == customer_id


def _user(organization_id: str, user_id: str) -> tuple[Any, ...]:
    return UserRow.organization_id == organization_id, UserRow.user_id == user_id
