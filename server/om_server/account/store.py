"""Accounts as they are kept. Every query names its organization but the look-ups of keys, which find it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import peewee

from om_server.account.keys.call_settings import written
from om_server.account.keys.key import Key, KeyLife, KeyOwner, KeyUse
from om_server.account.listing import Position
from om_server.account.organization import Organization, Team
from om_server.account.reads import (
    KEY_COLUMNS,
    ORGANIZATION_COLUMNS,
    AccountReads,
    key_from_row,
    organization_from_row,
)
from om_server.account.record import (
    MODELS,
    KeyLookupRow,
    KeyRow,
    KeyUseRow,
    OrganizationRow,
    TeamRow,
)
from om_server.storage.batch import BatchWriter
from om_server.storage.database import Database, Record

__all__ = ["MODELS", "AccountStore"]

RowT = TypeVar("RowT", bound=Record)

_KEEP_LATEST = (
    "ON CONFLICT (organization_id, key_id) DO UPDATE SET last_use_time = excluded.last_use_time"
    " WHERE excluded.last_use_time > key_uses.last_use_time"
)


class AccountStore:
    """Queries of accounts; the caller opens the transaction. Adding what is there already changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
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

    def lock_organization(self, organization_id: str) -> None:
        """Let nobody else change the organization until the transaction ends."""
        query: peewee.ModelSelect[Any] = OrganizationRow.select(OrganizationRow.organization_id).where(
            OrganizationRow.organization_id == organization_id
        )
        self._database.locked(query).tuples().first()

    def save_organization(self, organization: Organization) -> None:
        """Write what may change of an organization."""
        OrganizationRow.update(
            display_name=organization.display_name,
            user_wallet_required=organization.user_wallet_required,
            unknown_outcome_policy=organization.unknown_outcome_policy,
        ).where(OrganizationRow.organization_id == organization.organization_id).execute()

    def oldest_organization(self) -> Organization | None:
        """Return the first organization of this installation, which the command line works for."""
        oldest = (OrganizationRow.create_time, OrganizationRow.organization_id)
        query: peewee.ModelSelect[Any] = OrganizationRow.select(*ORGANIZATION_COLUMNS).order_by(*oldest)
        row = query.limit(1).tuples().first()
        return None if row is None else organization_from_row(row)

    def set_suspend_time(self, organization_id: str, suspend_time: int | None) -> None:
        """Suspend an organization, or activate it with None; a trigger tells the edges."""
        OrganizationRow.update(suspend_time=suspend_time).where(
            OrganizationRow.organization_id == organization_id
        ).execute()

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

    def rename_team(self, organization_id: str, *, team_id: str, display_name: str) -> bool:
        """Give a team a name; False if another one has it, and then the transaction has to end."""
        update = TeamRow.update(display_name=display_name).where(
            (TeamRow.organization_id == organization_id) & (TeamRow.team_id == team_id)
        )
        try:
            return bool(update.execute())
        except peewee.IntegrityError:
            return False

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
        rows = list(oldest_first(query, TeamRow.create_time, TeamRow.team_id, after=after).limit(limit))
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
            on_disconnect=key.calls.on_disconnect.value,
            on_disconnect_by_operation=written(key.calls.by_operation),
            clamp_output=key.calls.clamp_output,
            owner_expire_time=key.owner_expire_time,
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
        rows = oldest_first(query, KeyRow.create_time, KeyRow.key_id, after=after).limit(limit)
        return [key_from_row(row) for row in rows.tuples()]

    def key_owners(self, key_ids: Iterable[str]) -> dict[str, KeyOwner]:
        """Return whose keys these are, whoever has them: an edge names keys of many organizations."""
        return self._reads.key_owners(key_ids)

    def note_uses(self, organization_id: str, uses: Sequence[KeyUse]) -> None:
        """Keep when keys were used, each named once; an earlier time changes nothing."""
        rows = [(organization_id, use.key_id, use.time) for use in uses]
        self._batch.insert(KeyUseRow, rows, on_conflict=_KEEP_LATEST)

    def last_uses(self, organization_id: str, key_ids: Collection[str]) -> dict[str, int]:
        """Return when these keys were last used; one that never was is absent."""
        query: peewee.ModelSelect[Any] = KeyUseRow.select(KeyUseRow.key_id, KeyUseRow.last_use_time).where(
            (KeyUseRow.organization_id == organization_id) & KeyUseRow.key_id.in_(key_ids)
        )
        return dict(query.tuples().execute())

    def revoke_key(self, organization_id: str, *, key_id: str, now: int) -> bool:
        """End a key now; False if it was revoked before, or is nobody's."""
        update = KeyRow.update(revoke_time=now).where(
            (KeyRow.organization_id == organization_id)
            & (KeyRow.key_id == key_id)
            & KeyRow.revoke_time.is_null()
        )
        return bool(update.execute())

    def lock_key(self, organization_id: str, *, key_id: str) -> None:
        """Let nobody else change the key until the transaction ends."""
        query: peewee.ModelSelect[Any] = KeyRow.select(KeyRow.key_id).where(
            (KeyRow.organization_id == organization_id) & (KeyRow.key_id == key_id)
        )
        self._database.locked(query).tuples().first()

    def save_key(self, key: Key) -> None:
        """Write what may change of a key but its life; a trigger tells the edges of its settings."""
        KeyRow.update(
            description=key.description,
            on_disconnect=key.calls.on_disconnect.value,
            on_disconnect_by_operation=written(key.calls.by_operation),
            clamp_output=key.calls.clamp_output,
        ).where((KeyRow.organization_id == key.organization_id) & (KeyRow.key_id == key.key_id)).execute()

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


def team_from_row(row: TeamRow, key_counts: Mapping[str, int]) -> Team:
    """Return the team; one without active keys is not in the counts."""
    key_count = key_counts.get(row.team_id, 0)
    return Team(row.organization_id, row.team_id, row.display_name, row.create_time, key_count)


def oldest_first(
    query: "peewee.ModelSelect[RowT]", *order: peewee.Field, after: Position | None
) -> "peewee.ModelSelect[RowT]":
    """Order by time, then id, which no two rows share; go on after a position."""
    if after is not None:
        query = query.where(peewee.Tuple(*order) > after)
    return query.order_by(*order)


def _same(field: peewee.Field, value: int | None) -> peewee.Expression:
    return field.is_null() if value is None else field == value
