"""What accounts do: organizations, teams, keys, and whom events name. An operation is one transaction."""

import enum
from collections.abc import Callable, Iterable, Mapping

from om_server.account import development
from om_server.account.authenticator import KeyAuthenticator
from om_server.account.key import (
    SCOPES_DEFAULT,
    Key,
    KeyLife,
    KeyOwner,
    KeyRevoked,
    KeyWish,
    NewKey,
    credible,
    life_after_rotation,
    masked,
    successor,
)
from om_server.account.listing import Listing, Page
from om_server.account.organization import TEAM_DEFAULT, Customer, Organization, Team, User
from om_server.account.store import AccountStore
from om_server.core.clock import MICROS_PER_SECOND, Clock
from om_server.core.errors import AlreadyExists, NotFound, Unauthenticated
from om_server.core.ids import IdSource, hash_key, new_key
from om_server.core.page import PageRequest
from om_server.storage.database import Database

_KEY_RANDOM_BYTES = 32


class AccountOperations:
    """Accounts of every organization, one at a time."""

    def __init__(
        self,
        database: Database,
        store: AccountStore,
        *,
        ids: IdSource,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._database = database
        self._store = store
        self._ids = ids
        self._clock = clock
        self._random_bytes = random_bytes

    def authenticator(self) -> KeyAuthenticator:
        """What the rpc floor asks whose a credential is."""
        return KeyAuthenticator(self.authenticate_key)

    def authenticate_key(self, secret: str) -> Key:
        """Return the key with this secret; CREDENTIAL_INVALID if it is unknown or has ended."""
        if not credible(secret):
            raise Unauthenticated
        key = self._database.read(lambda: self._store.find_key_by_hash(hash_key(secret)))
        if key is None or key.life.ended(self._clock()):
            raise Unauthenticated
        return key

    def keys_by_id(self, key_ids: Iterable[str]) -> dict[str, KeyOwner]:
        """Return the owners of keys of any organization, ended keys too; an unknown key is absent."""
        return self._database.read(lambda: self._store.key_owners(key_ids))

    def seed_development(self, secret: str) -> str:
        """Make the development organization with a key that is public, and return its id. Safe to repeat."""
        now = self._clock()
        key = development.key(secret, now)

        def write() -> str:
            self._store.add_organization(development.organization(now))
            self._store.add_team(development.team(now))
            self._store.add_key(key, key_hash=hash_key(secret))
            # It is there already where it was seeded before, and perhaps retired since.
            self._store.replace_life(self._key(key.organization_id, key.key_id), life=key.life)
            return key.organization_id

        return self._database.write(write)

    def retire_development(self) -> None:
        """Revoke the public key where it was seeded once, so that production never lets it in."""
        now = self._clock()
        self._database.write(
            lambda: self._store.revoke_key(development.ORGANIZATION_ID, key_id=development.KEY_ID, now=now)
        )

    def create_organization(self, display_name: str) -> Organization:
        """Create an organization with a first team. It has no wallet."""
        now = self._clock()
        organization = Organization(self._ids.new("org"), display_name, now)
        team = Team(organization.organization_id, self._ids.new("team"), TEAM_DEFAULT, now)

        def write() -> Organization:
            self._store.add_organization(organization)
            self._store.add_team(team)
            return organization

        return self._database.write(write)

    def default_organization(self) -> Organization:
        """Return the oldest organization, or create one: whom the command line works for."""
        return self._database.write(
            lambda: self._store.oldest_organization() or self.create_organization("Default")
        )

    def get_organization(self, organization_id: str) -> Organization:
        found = self._database.read(lambda: self._store.find_organization(organization_id))
        if found is None:
            raise NotFound("organization", organization_id)
        return found

    def create_team(self, organization_id: str, display_name: str) -> Team:
        """Create a team; ALREADY_EXISTS if the name is taken."""
        team = Team(organization_id, self._ids.new("team"), display_name, self._clock())
        if not self._database.write(lambda: self._store.add_team(team)):
            raise AlreadyExists("team", display_name)
        return team

    def ensure_team(self, organization_id: str, display_name: str) -> Team:
        """Return the team of that name, created if there is none."""
        team = Team(organization_id, self._ids.new("team"), display_name, self._clock())

        def write() -> Team:
            if self._store.add_team(team):
                return team
            return self._store.team_by_name(organization_id, display_name=display_name, now=team.create_time)

        return self._database.write(write)

    def get_team(self, organization_id: str, team_id: str) -> Team:
        now = self._clock()
        found = self._database.read(lambda: self._store.find_team(organization_id, team_id=team_id, now=now))
        if found is None:
            raise NotFound("team", team_id)
        return found

    def list_teams(self, organization_id: str, page: PageRequest) -> Page[Team]:
        """Return teams, oldest first."""
        now, listing = self._clock(), Listing(page, list="teams", organization_id=organization_id)
        found = self._database.read(
            lambda: self._store.teams(organization_id, now=now, after=listing.after, limit=listing.limit)
        )
        return listing.page(found, lambda team: (team.create_time, team.team_id))

    def create_key(self, organization_id: str, wish: KeyWish) -> NewKey:
        """Create a key of a team. Its secret is in the answer and nowhere else."""
        now = self._clock()
        wish.check(now)

        def write() -> NewKey:
            if self._store.find_team(organization_id, team_id=wish.team_id, now=now) is None:
                raise NotFound("team", wish.team_id)
            return self._mint(organization_id, wish, now=now)

        return self._database.write(write)

    def list_keys(self, organization_id: str, page: PageRequest, *, team_id: str = "") -> Page[Key]:
        """Return keys, oldest first, ended ones too."""
        listing = Listing(page, list="keys", organization_id=organization_id, team_id=team_id)
        found = self._database.read(
            lambda: self._store.keys(
                organization_id, team_id=team_id, after=listing.after, limit=listing.limit
            )
        )
        return listing.page(found, lambda key: (key.create_time, key.key_id))

    def revoke_key(self, organization_id: str, key_id: str) -> Key:
        """End a key for good; the first time stays if it is repeated."""
        now = self._clock()

        def write() -> Key:
            self._store.revoke_key(organization_id, key_id=key_id, now=now)
            return self._key(organization_id, key_id)

        return self._database.write(write)

    def rotate_key(self, organization_id: str, key_id: str, *, overlap_seconds: int) -> NewKey:
        """Create a key that takes another's place; the old one works until the overlap ends."""
        now = self._clock()

        def write() -> NewKey:
            old = self._key(organization_id, key_id)
            life = life_after_rotation(old, now, overlap=overlap_seconds * MICROS_PER_SECOND)
            if not self._store.replace_life(old, life=life):
                # Somebody ended it at the same moment; a second successor would be nobody's.
                raise KeyRevoked(key_id)
            return self._mint(organization_id, successor(old), now=now)

        return self._database.write(write)

    def list_customers(self, organization_id: str, page: PageRequest) -> Page[Customer]:
        """Return customers, oldest first, and how many there are."""
        listing = Listing(page, list="customers", organization_id=organization_id)

        def read() -> Page[Customer]:
            found = self._store.customers(
                organization_id, after=listing.after, skip=listing.skip, limit=listing.limit
            )
            total = self._store.count_customers(organization_id)
            return listing.page(found, lambda one: (one.create_time, one.customer_id), total_size=total)

        return self._database.read(read)

    def get_user(self, organization_id: str, user_id: str) -> User:
        found = self._database.read(lambda: self._store.find_user(organization_id, user_id=user_id))
        if found is None:
            raise NotFound("user", user_id)
        return found

    def list_users(self, organization_id: str, page: PageRequest, *, search: str = "") -> Page[User]:
        """Return end users whose id or address contains the search, oldest first, and how many match."""
        listing = Listing(page, list="users", organization_id=organization_id, search=search)

        def read() -> Page[User]:
            found = self._store.users(
                organization_id, search, after=listing.after, skip=listing.skip, limit=listing.limit
            )
            total = self._store.count_users(organization_id, search)
            return listing.page(found, lambda one: (one.create_time, one.user_id), total_size=total)

        return self._database.read(read)

    def note_sightings(
        self, organization_id: str, *, customers: Iterable[str], users: Iterable[str], now: int
    ) -> None:
        """Record whom events named for the first time. The organization itself is nobody's customer.

        Rows are written in the order of their ids, so that two settlers never wait for each other.
        """
        new_customers = [
            Customer(customer_id, "", now) for customer_id in sorted(set(customers) - {"", organization_id})
        ]
        new_users = [User(user_id, "", "{}", now, now) for user_id in sorted(set(users) - {""})]

        def write() -> None:
            self._store.add_customers(organization_id, new_customers)
            self._store.add_users(organization_id, new_users)

        self._database.write(write)

    def names(self, organization_id: str, dimension: enum.Enum) -> Mapping[str, str]:
        """Return what people call an organization's teams or keys, by id; nothing for other dimensions."""
        match dimension.name:
            case "TEAM":
                return self._database.read(lambda: self._store.team_names(organization_id))
            case "KEY":
                return self._database.read(lambda: self._store.key_names(organization_id))
            case _:
                return {}

    def _key(self, organization_id: str, key_id: str) -> Key:
        found = self._store.find_key(organization_id, key_id=key_id)
        if found is None:
            raise NotFound("key", key_id)
        return found

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
        )
        self._store.add_key(key, key_hash=hash_key(secret))
        return NewKey(key, secret)
