"""What accounts do with keys: let them in, make, list, revoke and rotate them. Secrets are never kept."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from om_server.account.facts import key_facts
from om_server.account.keys.key import (
    SCOPES_DEFAULT,
    Key,
    KeyChange,
    KeyLife,
    KeyOwner,
    KeyRevoked,
    KeyUse,
    KeyWish,
    NewKey,
    credible,
    life_after_rotation,
    masked,
    successor,
)
from om_server.account.keys.use_book import UseBook
from om_server.account.listing import Listing, Page
from om_server.account.store import AccountStore
from om_server.core.audit import AuditEntry
from om_server.core.clock import MICROS_PER_SECOND, Clock
from om_server.core.errors import NotFound, Unauthenticated
from om_server.core.ids import IdSource, hash_key, new_key
from om_server.core.page import PageRequest
from om_server.storage.audit import AuditTrail
from om_server.storage.database import Database

_KEY_RANDOM_BYTES = 32


class KeyOperations:
    """Keys of every organization, one at a time. Each write is audited in its own transaction."""

    def __init__(  # noqa: PLR0913 - what keys are made of
        self,
        database: Database,
        store: AccountStore,
        trail: AuditTrail,
        *,
        ids: IdSource,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._database = database
        self._store = store
        self._trail = trail
        self._ids = ids
        self._clock = clock
        self._random_bytes = random_bytes
        self._uses = UseBook(database, store)

    def authenticate(self, secret: str) -> Key:
        """Return the key with this secret; CREDENTIAL_INVALID if it is unknown or has ended."""
        if not credible(secret):
            raise Unauthenticated
        now = self._clock()
        key = self._database.read(lambda: self._store.find_key_by_hash(hash_key(secret)))
        if key is None or key.life.ended(now):
            raise Unauthenticated
        self._uses.note_call(key.organization_id, KeyUse(key.key_id, now))
        return key

    def note_uses(self, organization_id: str, uses: Iterable[KeyUse]) -> None:
        """Keep when keys were used, within the transaction that settles what they were used for."""
        self._uses.note_events(organization_id, uses)

    def owners(self, key_ids: Iterable[str]) -> dict[str, KeyOwner]:
        """Return the owners of keys of any organization, ended keys too; an unknown key is absent."""
        return self._database.read(lambda: self._store.key_owners(key_ids))

    def create(self, organization_id: str, wish: KeyWish) -> NewKey:
        """Create a key of a team. Its secret is in the answer and nowhere else."""
        now = self._clock()
        wish.check(now)

        def write() -> NewKey:
            if self._store.find_team(organization_id, team_id=wish.team_id, now=now) is None:
                raise NotFound("team", wish.team_id)
            new = self._mint(organization_id, wish, now=now)
            self._note("CreateKey", None, new.key)
            return new

        return self._database.write(write)

    def seed(self, key: Key, secret: str) -> None:
        """Make a key whose secret is known, within the caller's transaction, or let it in again."""
        before = self._store.find_key(key.organization_id, key_id=key.key_id)
        if before is None:
            self._store.add_key(key, key_hash=hash_key(secret))
            self._note("CreateKey", None, key)
        elif before.life != key.life:
            self._store.replace_life(before, life=key.life)
            self._note("CreateKey", before, replace(before, life=key.life))

    def retire(self, organization_id: str, key_id: str) -> None:
        """End a key if there is one."""
        if self._database.read(lambda: self._store.find_key(organization_id, key_id=key_id)) is not None:
            self.revoke(organization_id, key_id)

    def page(self, organization_id: str, page: PageRequest, *, team_id: str = "") -> Page[Key]:
        """Return keys, oldest first, ended ones too."""
        listing = Listing(page, list="keys", organization_id=organization_id, team_id=team_id)

        def read() -> Page[Key]:
            found = self._store.keys(
                organization_id, team_id=team_id, after=listing.after, limit=listing.limit
            )
            page = listing.page(found, lambda key: (key.create_time, key.key_id))
            uses = self._store.last_uses(organization_id, [key.key_id for key in page.items])
            keys = tuple(replace(key, last_use_time=uses.get(key.key_id)) for key in page.items)
            return replace(page, items=keys)

        return self._database.read(read)

    def update(self, organization_id: str, key_id: str, change: KeyChange) -> Key:
        """Change what is given; the same again changes nothing. KEY_REVOKED for a key that has ended."""
        now = self._clock()

        def write() -> Key:
            self._store.lock_key(organization_id, key_id=key_id)
            before = self._key(organization_id, key_id)
            if before.life.ended(now):
                raise KeyRevoked(key_id)
            after = change.applied(before)
            if after != before:
                self._store.save_key(after)
                self._note("UpdateKey", before, after)
            return self._with_use(after)

        return self._database.write(write)

    def revoke(self, organization_id: str, key_id: str) -> Key:
        """End a key for good; the first time stays if it is repeated."""
        now = self._clock()

        def write() -> Key:
            before = self._key(organization_id, key_id)
            ended = self._store.revoke_key(organization_id, key_id=key_id, now=now)
            after = self._key(organization_id, key_id)
            if ended:
                self._note("RevokeKey", before, after)
            return self._with_use(after)

        return self._database.write(write)

    def rotate(self, organization_id: str, key_id: str, *, overlap_seconds: int) -> NewKey:
        """Create a key that takes another's place; the old one works until the overlap ends."""
        now = self._clock()

        def write() -> NewKey:
            old = self._key(organization_id, key_id)
            life = life_after_rotation(old, now, overlap=overlap_seconds * MICROS_PER_SECOND)
            if not self._store.replace_life(old, life=life):
                # Somebody ended it at the same moment; a second successor would be nobody's.
                raise KeyRevoked(key_id)
            new = self._mint(organization_id, successor(old), now=now)
            self._note("RotateKey", old, self._key(organization_id, key_id))
            self._note("RotateKey", None, new.key)
            return new

        return self._database.write(write)

    def _note(self, action: str, before: Key | None, after: Key) -> None:
        entry = AuditEntry(
            action, "key", after.key_id, before=key_facts(before) if before else None, after=key_facts(after)
        )
        self._trail.record(after.organization_id, entry)

    def _key(self, organization_id: str, key_id: str) -> Key:
        found = self._store.find_key(organization_id, key_id=key_id)
        if found is None:
            raise NotFound("key", key_id)
        return found

    def _with_use(self, key: Key) -> Key:
        uses = self._store.last_uses(key.organization_id, [key.key_id])
        return replace(key, last_use_time=uses.get(key.key_id))

    def _mint(self, organization_id: str, wish: KeyWish, *, now: int) -> NewKey:
        secret = new_key(wish.secret_prefix, self._random_bytes(_KEY_RANDOM_BYTES))
        key = Key(
            organization_id=organization_id,
            key_id=self._ids.new("key"),
            team_id=wish.team_id,
            description=wish.description,
            masked_secret=masked(secret),
            scopes=wish.scopes or SCOPES_DEFAULT,
            test_mode=wish.test_mode,
            life=KeyLife(wish.expire_time),
            create_time=now,
            calls=wish.calls,
            owner_expire_time=wish.expire_time,
        )
        self._store.add_key(key, key_hash=hash_key(secret))
        return NewKey(key, secret)
