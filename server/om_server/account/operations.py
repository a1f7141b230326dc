"""What accounts do: organizations, teams, keys, and whom events name. An operation is one transaction."""

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from om_server.account import development
from om_server.account.authenticator import KeyAuthenticator
from om_server.account.clientele.operations import Clientele
from om_server.account.facts import organization_facts, team_facts
from om_server.account.founding import Founding
from om_server.account.keys.key import Key, KeyChange, KeyOwner, KeyUse, KeyWish, NewKey
from om_server.account.keys.operations import KeyOperations
from om_server.account.listing import Listing, Page
from om_server.account.organization import (
    Customer,
    Organization,
    OrganizationChange,
    Team,
    User,
)
from om_server.account.store import AccountStore
from om_server.core.audit import AuditEntry
from om_server.core.clock import Clock
from om_server.core.errors import AlreadyExists, NotFound
from om_server.core.ids import IdSource
from om_server.core.page import PageRequest
from om_server.rpc.caller import actor
from om_server.storage.audit import AuditRecord, AuditTrail
from om_server.storage.database import Database


def _nobody_told(_organization_id: str) -> None:
    """Stand in for who must know that another wallet pays, where there are no wallets."""


class AccountOperations:
    """Accounts of every organization, one at a time. Every write is audited in its own transaction."""

    def __init__(  # noqa: PLR0913 - what the composition root joins
        self,
        database: Database,
        store: AccountStore,
        *,
        ids: IdSource,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        payers_changed: Callable[[str], None] = _nobody_told,
    ) -> None:
        """`payers_changed` is called within the transaction that changes who may pay in an organization."""
        self._database = database
        self._store = store
        self._ids = ids
        self._clock = clock
        self._payers_changed = payers_changed
        self._trail = AuditTrail(database, ids=ids, clock=clock, actor=actor)
        self._founding = Founding(store, self._trail, ids=ids, clock=clock)
        self._clientele = Clientele(database, self._trail, clock=clock)
        self._keys = KeyOperations(
            database, store, self._trail, ids=ids, clock=clock, random_bytes=random_bytes
        )

    def authenticator(self) -> KeyAuthenticator:
        """What the rpc floor asks whose a credential is."""
        return KeyAuthenticator(self.authenticate_key)

    def authenticate_key(self, secret: str) -> Key:
        """Return the key with this secret; CREDENTIAL_INVALID if it is unknown or has ended."""
        return self._keys.authenticate(secret)

    def keys_by_id(self, key_ids: Iterable[str]) -> dict[str, KeyOwner]:
        """Return the owners of keys of any organization, ended keys too; an unknown key is absent."""
        return self._keys.owners(key_ids)

    def seed_development(self, secret: str) -> str:
        """Make the development organization with a key that is public, and return its id. Safe to repeat."""
        now = self._clock()
        organization = development.organization(now)

        def write() -> str:
            if self._store.find_organization(organization.organization_id) is None:
                self._founding.place(organization, development.team(now))
            self._keys.seed(development.key(secret, now), secret)
            return organization.organization_id

        return self._database.write(write)

    def retire_development(self) -> None:
        """Revoke the public key where it was seeded once, so that production never lets it in."""
        self._keys.retire(development.ORGANIZATION_ID, development.KEY_ID)

    def create_organization(self, display_name: str) -> Organization:
        """Create an organization with a first team. It has no wallet."""
        return self._database.write(lambda: self._founding.found(display_name))

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

    def update_organization(self, organization_id: str, change: OrganizationChange) -> Organization:
        """Change what is given; the same again changes nothing."""

        def write() -> Organization:
            self._store.lock_organization(organization_id)
            before = self.get_organization(organization_id)
            after = change.applied(before)
            self._store.save_organization(after)
            if after.user_wallet_required != before.user_wallet_required:
                self._payers_changed(organization_id)
            entry = AuditEntry(
                "UpdateOrganization",
                "organization",
                organization_id,
                before=organization_facts(before),
                after=organization_facts(after),
            )
            self._trail.record(organization_id, entry)
            return after

        return self._database.write(write)

    def create_team(self, organization_id: str, display_name: str) -> Team:
        """Create a team; ALREADY_EXISTS if the name is taken."""
        team = Team(organization_id, self._ids.new("team"), display_name, self._clock())

        def write() -> Team:
            if not self._store.add_team(team):
                raise AlreadyExists("team", display_name)
            self._note("CreateTeam", None, team)
            return team

        return self._database.write(write)

    def rename_team(self, organization_id: str, team_id: str, *, display_name: str) -> Team:
        """Give a team another name; ALREADY_EXISTS if that is taken, and its own again changes nothing."""

        def write() -> Team:
            # One after the other, so that each record's "before" is what the one before it left.
            self._store.lock_organization(organization_id)
            before = self.get_team(organization_id, team_id)
            if not self._store.rename_team(organization_id, team_id=team_id, display_name=display_name):
                raise AlreadyExists("team", display_name)
            after = replace(before, display_name=display_name)
            self._note("UpdateTeam", before, after)
            return after

        return self._database.write(write)

    def ensure_team(self, organization_id: str, display_name: str) -> Team:
        """Return the team of that name, created if there is none."""
        team = Team(organization_id, self._ids.new("team"), display_name, self._clock())

        def write() -> Team:
            if self._store.add_team(team):
                self._note("CreateTeam", None, team)
                return team
            return self._store.team_by_name(organization_id, display_name=display_name, now=team.create_time)

        return self._database.write(write)

    def get_team(self, organization_id: str, team_id: str) -> Team:
        now = self._clock()
        found = self._database.read(lambda: self._store.find_team(organization_id, team_id=team_id, now=now))
        if found is None:
            raise NotFound("team", team_id)
        return found

    def require_own(self, organization_id: str, *, team_id: str, key_id: str) -> None:
        """NOT_FOUND for a team or a key, ended or not, that is not the organization's; empty is none."""
        if team_id:
            self.get_team(organization_id, team_id)
        if key_id and (
            self._database.read(lambda: self._store.find_key(organization_id, key_id=key_id)) is None
        ):
            raise NotFound("key", key_id)

    def list_teams(self, organization_id: str, page: PageRequest) -> Page[Team]:
        """Return teams, oldest first."""
        now, listing = self._clock(), Listing(page, list="teams", organization_id=organization_id)
        found = self._database.read(
            lambda: self._store.teams(organization_id, now=now, after=listing.after, limit=listing.limit)
        )
        return listing.page(found, lambda team: (team.create_time, team.team_id))

    def create_key(self, organization_id: str, wish: KeyWish) -> NewKey:
        """Create a key of a team. Its secret is in the answer and nowhere else."""
        return self._keys.create(organization_id, wish)

    def list_keys(self, organization_id: str, page: PageRequest, *, team_id: str = "") -> Page[Key]:
        """Return keys, oldest first, ended ones too, with their last use."""
        return self._keys.page(organization_id, page, team_id=team_id)

    def update_key(self, organization_id: str, key_id: str, change: KeyChange) -> Key:
        """Change a key's description and what holds for its calls; the same again changes nothing."""
        return self._keys.update(organization_id, key_id, change)

    def revoke_key(self, organization_id: str, key_id: str) -> Key:
        """End a key for good; the first time stays if it is repeated."""
        return self._keys.revoke(organization_id, key_id)

    def rotate_key(self, organization_id: str, key_id: str, *, overlap_seconds: int) -> NewKey:
        """Create a key that takes another's place; the old one works until the overlap ends."""
        return self._keys.rotate(organization_id, key_id, overlap_seconds=overlap_seconds)

    def note_key_uses(self, organization_id: str, uses: Iterable[KeyUse]) -> None:
        """Keep when keys were used, within the transaction that settles what they were used for."""
        self._keys.note_uses(organization_id, uses)

    def create_customer(self, organization_id: str, customer_id: str, *, display_name: str) -> Customer:
        """Register a customer; ALREADY_EXISTS if that was done before."""
        return self._clientele.create_customer(organization_id, customer_id, display_name=display_name)

    def list_customers(self, organization_id: str, page: PageRequest) -> Page[Customer]:
        """Return customers, oldest first, and how many there are."""
        return self._clientele.page_customers(organization_id, page)

    def create_user(self, organization_id: str, user_id: str, *, email: str, metadata_json: str) -> User:
        """Register an end user; ALREADY_EXISTS if that was done before."""
        return self._clientele.create_user(organization_id, user_id, email=email, metadata_json=metadata_json)

    def get_user(self, organization_id: str, user_id: str) -> User:
        return self._clientele.user(organization_id, user_id)

    def list_users(self, organization_id: str, page: PageRequest, *, search: str = "") -> Page[User]:
        """Return end users whose id or address contains the search, oldest first, and how many match."""
        return self._clientele.page_users(organization_id, page, search=search)

    def note_sightings(
        self, organization_id: str, *, customers: Iterable[str], users: Iterable[str], now: int
    ) -> None:
        """Record whom events named for the first time. The organization itself is nobody's customer."""
        self._clientele.note_sightings(organization_id, customers=customers, users=users, now=now)

    def list_audit_records(self, organization_id: str, page: PageRequest) -> Page[AuditRecord]:
        """Return who changed what, newest first."""
        listing = Listing(page, list="audit", organization_id=organization_id)
        found = self._trail.newest(organization_id, before=listing.after, limit=listing.limit)
        return listing.page(found, lambda one: (one.create_time, one.audit_record_id))

    def names(self, organization_id: str, dimension: enum.Enum) -> Mapping[str, str]:
        """Return what people call an organization's teams or keys, by id; nothing for other dimensions."""
        match dimension.name:
            case "TEAM":
                return self._database.read(lambda: self._store.team_names(organization_id))
            case "KEY":
                return self._database.read(lambda: self._store.key_names(organization_id))
            case _:
                return {}

    def _note(self, action: str, before: Team | None, after: Team) -> None:
        facts = None if before is None else team_facts(before)
        entry = AuditEntry(action, "team", after.team_id, before=facts, after=team_facts(after))
        self._trail.record(after.organization_id, entry)
