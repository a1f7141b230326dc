"""Accounts as they are kept. Every query names its organization but the look-ups of keys, which find it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import peewee

from om_server.account.key import Key, KeyLife, KeyOwner
from om_server.account.listing import Position
from om_server.account.organization import Customer, Organization, Team, User
from om_server.account.reads import KEY_COLUMNS, ORGANIZATION_COLUMNS, AccountReads, key_from_row
from om_server.account.record import (
    MODELS,
    CustomerRow,
    KeyLookupRow,
    KeyRow,
    OrganizationRow,
    TeamRow,
    UserRow,
)
from om_server.storage.batch import BatchWriter
from om_server.storage.database import Database, Record

__all__ = ["MODELS", "AccountStore"]

RowT = TypeVar("RowT", bound=Record)

_KEEP = "ON CONFLICT DO NOTHING"


class AccountStore:
    """Queries of accounts; the caller opens the transaction. Adding what is there already changes nothing."""

    def __init__(self, database: Database) -> None:
        self._reads = AccountReads(database)
        self._batch = BatchWriter(database)

    def add_organization(self, organization: Organization) -> None:
        OrganizationRow.insert(
            organization_id=organization.organization_id,
            display_name=organization.display_name,
            user_wallet_required=organization.user_wallet_required,
            unknown_outcome_policy=organization.unknown_outcome_policy,
            create_time=organization.create_time,
        ).on_conflict_ignore().execute()

    def find_organization(self, organization_id: str) -> Organization | None:
        return self._reads.organization(organization_id)

    def oldest_organization(self) -> Organization | None:
        """Return the first organization of this installation, which the command line works for."""
        oldest = (OrganizationRow.create_time, OrganizationRow.organization_id)
        query: peewee.ModelSelect[Any] = OrganizationRow.select(*ORGANIZATION_COLUMNS).order_by(*oldest)
        row = query.limit(1).tuples().first()
        return None if row is None else Organization(*row)

    def add_team(self, team: Team) -> bool:
        """Add a team; False if its id or its name is taken."""
        insert = TeamRow.insert(
            organization_id=team.organization_id,
            team_id=team.team_id,
            display_name=team.display_name,
            create_time=team.create_time,
        )
        return bool(list(insert.on_conflict_ignore().returning(TeamRow.team_id).execute()))

    def find_team(self, organization_id: str, *, team_id: str, now: int) -> Team | None:
        row = TeamRow.get_or_none((TeamRow.organization_id == organization_id) & (TeamRow.team_id == team_id))
        return None if row is None else self._team(row, now)

    def team_by_name(self, organization_id: str, *, display_name: str, now: int) -> Team:
        """Return the team that has the name, which somebody must have."""
        row = TeamRow.get(
            (TeamRow.organization_id == organization_id) & (TeamRow.display_name == display_name)
        )
        return self._team(row, now)

    def team_names(self, organization_id: str) -> dict[str, str]:
        """Return display names by team id."""
        rows = TeamRow.select().where(TeamRow.organization_id == organization_id)
        return {row.team_id: row.display_name for row in rows}

    def teams(
        self, organization_id: str, *, now: int, after: Position | None = None, limit: int | None = None
    ) -> list[Team]:
        """Return teams, oldest first, with the number of their keys that have not ended."""
        query = TeamRow.select().where(TeamRow.organization_id == organization_id)
        rows = list(_oldest_first(query, TeamRow.create_time, TeamRow.team_id, after=after).limit(limit))
        counts = self._count_keys(organization_id, [row.team_id for row in rows], now=now)
        return [team_from_row(row, counts) for row in rows]

    def add_key(self, key: Key, *, key_hash: str) -> None:
        KeyRow.insert(
            organization_id=key.organization_id,
            key_id=key.key_id,
            team_id=key.team_id,
            masked_secret=key.masked_secret,
            description=key.description,
            scopes=" ".join(sorted(scope.value for scope in key.scopes)),
            test_mode=key.test_mode,
            expire_time=key.life.expire_time,
            revoke_time=key.life.revoke_time,
            create_time=key.create_time,
        ).on_conflict_ignore().execute()
        KeyLookupRow.insert(
            key_hash=key_hash, key_id=key.key_id, organization_id=key.organization_id
        ).on_conflict_ignore().execute()

    def find_key(self, organization_id: str, *, key_id: str) -> Key | None:
        return self._reads.key(organization_id, key_id)

    def find_key_by_hash(self, key_hash: str) -> Key | None:
        """Find the organization first, then the key within it: the look-up holds no tenant content."""
        return self._reads.key_by_hash(key_hash)

    def keys(
        self,
        organization_id: str,
        *,
        team_id: str,
        after: Position | None,
        limit: int,
    ) -> list[Key]:
        """Return keys, oldest first, ended ones too."""
        query: peewee.ModelSelect[Any] = KeyRow.select(*KEY_COLUMNS).where(
            KeyRow.organization_id == organization_id
        )
        if team_id:
            query = query.where(KeyRow.team_id == team_id)
        rows = _oldest_first(query, KeyRow.create_time, KeyRow.key_id, after=after).limit(limit)
        return [key_from_row(row) for row in rows.tuples()]

    def key_owners(self, key_ids: Iterable[str]) -> dict[str, KeyOwner]:
        """Return whose keys these are, whoever has them: an edge names keys of many organizations."""
        return self._reads.key_owners(key_ids)

    def revoke_key(self, organization_id: str, *, key_id: str, now: int) -> None:
        """End a key now, unless it was revoked before."""
        KeyRow.update(revoke_time=now).where(
            (KeyRow.organization_id == organization_id)
            & (KeyRow.key_id == key_id)
            & KeyRow.revoke_time.is_null()
        ).execute()

    def replace_life(self, key: Key, *, life: KeyLife) -> bool:
        """Change when a key ends; False if somebody changed it since it was read."""
        update = KeyRow.update(expire_time=life.expire_time, revoke_time=life.revoke_time).where(
            (KeyRow.organization_id == key.organization_id)
            & (KeyRow.key_id == key.key_id)
            & _same(KeyRow.expire_time, key.life.expire_time)
            & _same(KeyRow.revoke_time, key.life.revoke_time)
        )
        return bool(update.execute())

    def key_names(self, organization_id: str) -> dict[str, str]:
        """Return descriptions by key id, and what may be shown of the secret where there is none."""
        rows = KeyRow.select().where(KeyRow.organization_id == organization_id)
        return {row.key_id: row.description or row.masked_secret for row in rows}

    def add_customers(self, organization_id: str, customers: Sequence[Customer]) -> None:
        rows = [
            (organization_id, customer.customer_id, customer.display_name, customer.create_time)
            for customer in customers
        ]
        self._batch.insert(CustomerRow, rows, on_conflict=_KEEP)

    def customers(
        self, organization_id: str, *, after: Position | None, skip: int, limit: int
    ) -> list[Customer]:
        query = CustomerRow.select().where(CustomerRow.organization_id == organization_id)
        query = _oldest_first(query, CustomerRow.create_time, CustomerRow.customer_id, after=after)
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
            )
            for user in users
        ]
        self._batch.insert(UserRow, rows, on_conflict=_KEEP)

    def find_user(self, organization_id: str, *, user_id: str) -> User | None:
        row = UserRow.get_or_none((UserRow.organization_id == organization_id) & (UserRow.user_id == user_id))
        return None if row is None else user_from_row(row)

    def users(
        self, organization_id: str, search: str, *, after: Position | None, skip: int, limit: int
    ) -> list[User]:
        query = _oldest_first(
            self._matching_users(organization_id, search), UserRow.create_time, UserRow.user_id, after=after
        )
        return [user_from_row(row) for row in query.offset(skip).limit(limit)]

    def count_users(self, organization_id: str, search: str) -> int:
        return self._matching_users(organization_id, search).count()

    def _team(self, row: TeamRow, now: int) -> Team:
        return team_from_row(row, self._count_keys(row.organization_id, [row.team_id], now=now))

    def _count_keys(self, organization_id: str, team_ids: Sequence[str], *, now: int) -> dict[str, int]:
        query = (
            KeyRow.select(KeyRow.team_id, peewee.fn.COUNT(KeyRow.key_id))
            .where(
                (KeyRow.organization_id == organization_id)
                & KeyRow.team_id.in_(team_ids)
                & KeyRow.revoke_time.is_null()
                & (KeyRow.expire_time.is_null() | (KeyRow.expire_time > now))
            )
            .group_by(KeyRow.team_id)
        )
        rows: Iterable[tuple[str, int]] = query.tuples().execute()
        return dict(rows)

    def _matching_users(self, organization_id: str, search: str) -> "peewee.ModelSelect[UserRow]":
        query = UserRow.select().where(UserRow.organization_id == organization_id)
        if search:
            query = query.where(UserRow.user_id.contains(search) | UserRow.email.contains(search))
        return query


def team_from_row(row: TeamRow, key_counts: Mapping[str, int]) -> Team:
    """Return the team; one without active keys is not in the counts."""
    key_count = key_counts.get(row.team_id, 0)
    return Team(row.organization_id, row.team_id, row.display_name, row.create_time, key_count)


def customer_from_row(row: CustomerRow) -> Customer:
    return Customer(row.customer_id, row.display_name, row.create_time)


def user_from_row(row: UserRow) -> User:
    return User(row.user_id, row.email, row.metadata, row.create_time, row.update_time)


def _oldest_first(
    query: "peewee.ModelSelect[RowT]", *order: peewee.Field, after: Position | None
) -> "peewee.ModelSelect[RowT]":
    """Order by time, then id, which no two rows share; go on after a position."""
    if after is not None:
        query = query.where(peewee.Tuple(*order) > after)
    return query.order_by(*order)


def _same(field: peewee.Field, value: int | None) -> peewee.Expression:
    return field.is_null() if value is None else field == value
