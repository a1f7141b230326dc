"""The reads of keys and organizations that every call makes, as fixed statements."""

from collections.abc import Iterable
from typing import Any

import peewee

from om_server.account.keys.call_settings import CallSettings, OnDisconnect, read
from om_server.account.keys.key import Key, KeyLife, KeyOwner
from om_server.account.organization import Organization
from om_server.account.record import KeyLookupRow, KeyRow, OrganizationRow
from om_server.rpc.caller import Scope
from om_server.storage.database import Database
from om_server.storage.statement import Row, Statement, among, given

#: How many keys' organizations are remembered; with more, all are looked up again.
_REMEMBERED_MAX = 100_000

#: In the order of the fields of `Organization`.
ORGANIZATION_COLUMNS = (
    OrganizationRow.organization_id,
    OrganizationRow.display_name,
    OrganizationRow.create_time,
    OrganizationRow.user_wallet_required,
    OrganizationRow.unknown_outcome_policy,
    OrganizationRow.suspend_time,
)

#: In the order of the fields of `Key`, whose life is made of two columns and its settings of three.
KEY_COLUMNS = (
    KeyRow.organization_id,
    KeyRow.key_id,
    KeyRow.team_id,
    KeyRow.description,
    KeyRow.masked_secret,
    KeyRow.scopes,
    KeyRow.test_mode,
    KeyRow.expire_time,
    KeyRow.revoke_time,
    KeyRow.create_time,
    KeyRow.on_disconnect,
    KeyRow.on_disconnect_by_operation,
    KeyRow.clamp_output,
    KeyRow.owner_expire_time,
)


class AccountReads:
    """Keys and organizations.

    Whose a key is, by its hash or by its id, is written once and never changes, so it is remembered.
    The key itself is read anew each time: it may have been revoked.
    """

    def __init__(self, database: Database) -> None:
        keys: peewee.ModelSelect[Any] = KeyRow.select(*KEY_COLUMNS).where(
            KeyRow.organization_id == given("organization_id")
        )
        lookups: peewee.ModelSelect[Any] = KeyLookupRow.select(
            KeyLookupRow.key_id, KeyLookupRow.organization_id
        )
        self._organization = Statement(
            database,
            OrganizationRow.select(*ORGANIZATION_COLUMNS).where(
                OrganizationRow.organization_id == given("organization_id")
            ),
        )
        self._key = Statement(database, keys.where(KeyRow.key_id == given("key_id")))
        self._usable = Statement(database, _usable(keys.where(KeyRow.key_id == given("key_id"))))
        self._owners = Statement(database, _owners(database))
        self._by_hash = Statement(database, lookups.where(KeyLookupRow.key_hash == given("key_hash")))
        self._by_ids = Statement(database, lookups.where(among(database, KeyLookupRow.key_id, "key_ids")))
        self._key_of_hash: dict[str, tuple[str, str]] = {}
        self._organization_of_key: dict[str, str] = {}

    def organization(self, organization_id: str) -> Organization | None:
        """Return an organization."""
        row = self._organization.row(organization_id=organization_id)
        return None if row is None else organization_from_row(row)

    def key(self, organization_id: str, key_id: str) -> Key | None:
        """Return a key of an organization."""
        row = self._key.row(organization_id=organization_id, key_id=key_id)
        return None if row is None else key_from_row(row)

    def key_by_hash(self, key_hash: str) -> Key | None:
        """Find the organization first, then the key within it: the look-up holds no tenant content.

        A key of an organization that is suspended is not found.
        """
        found = self._key_of_hash.get(key_hash)
        if found is None:
            row = self._by_hash.row(key_hash=key_hash)
            if row is None:
                return None
            found = row[0], row[1]
            _remember(self._key_of_hash, {key_hash: found})
        key_id, organization_id = found
        usable = self._usable.row(organization_id=organization_id, key_id=key_id)
        return None if usable is None else key_from_row(usable)

    def key_owners(self, key_ids: Iterable[str]) -> dict[str, KeyOwner]:
        """Return whose keys these are; one that nobody has is absent."""
        wanted, memory = set(key_ids), self._organization_of_key
        known = {key_id: found for key_id in wanted if (found := memory.get(key_id))}
        strange = wanted - known.keys()
        if strange:
            looked_up: dict[str, str] = dict(self._by_ids.rows(key_ids=sorted(strange)))
            _remember(memory, looked_up)
            known |= looked_up
        by_organization: dict[str, list[str]] = {}
        for key_id, organization_id in known.items():
            by_organization.setdefault(organization_id, []).append(key_id)
        return {
            key_id: KeyOwner(
                organization_id,
                team_id,
                KeyLife(expire_time, revoke_time),
                user_wallet_required=bool(required),
                suspended=suspend_time is not None,
            )
            for organization_id, ids in by_organization.items()
            for key_id, team_id, expire_time, revoke_time, required, suspend_time in self._owners.rows(
                organization_id=organization_id, key_ids=ids
            )
        }


def organization_from_row(row: Row) -> Organization:
    """Make an organization of the columns of ORGANIZATION_COLUMNS."""
    *columns, user_wallet_required, policy, suspend_time = row
    fields: list[Any] = [*columns, bool(user_wallet_required), policy, suspend_time]
    return Organization(*fields)


def key_from_row(row: Row) -> Key:
    """Make a key of the columns of KEY_COLUMNS."""
    who, (scopes, test_mode, expire_time, revoke_time, create_time) = row[:5], row[5:10]
    on_disconnect, by_operation, clamp_output, owner_expire_time = row[10:]
    named = frozenset(Scope(name) for name in scopes.split())
    calls = CallSettings(OnDisconnect(on_disconnect), read(by_operation), bool(clamp_output))
    life = KeyLife(expire_time, revoke_time)
    fields: list[Any] = [*who, named, bool(test_mode), life, create_time, calls, owner_expire_time]
    return Key(*fields)


def _usable(keys: "peewee.ModelSelect[Any]") -> peewee.Node:
    organization = KeyRow.organization_id == OrganizationRow.organization_id
    return keys.join(OrganizationRow, on=organization).where(OrganizationRow.suspend_time.is_null())


def _owners(database: Database) -> peewee.Node:
    query: peewee.ModelSelect[Any] = KeyRow.select(
        KeyRow.key_id,
        KeyRow.team_id,
        KeyRow.expire_time,
        KeyRow.revoke_time,
        OrganizationRow.user_wallet_required,
        OrganizationRow.suspend_time,
    ).join(
        OrganizationRow,
        peewee.JOIN.LEFT_OUTER,
        on=(KeyRow.organization_id == OrganizationRow.organization_id),
    )
    return query.where(
        (KeyRow.organization_id == given("organization_id")) & among(database, KeyRow.key_id, "key_ids")
    )


def _remember(memory: dict[str, Any], found: dict[str, Any]) -> None:
    if len(memory) + len(found) > _REMEMBERED_MAX:
        memory.clear()
    memory.update(found)
