"""Registers organizations that come without a person: an address, a plan and a key, in one transaction."""

from dataclasses import dataclass

from om_server.account.keys.key import KeyWish, NewKey
from om_server.account.newcomers import Newcomers
from om_server.account.operations import AccountOperations
from om_server.account.organization import Organization
from om_server.account.people.member import normal_email
from om_server.account.registration.registration import Registration, Tier
from om_server.account.registration.store import RegistrationStore
from om_server.core.audit import AuditEntry
from om_server.core.clock import Clock
from om_server.core.errors import AlreadyExists
from om_server.core.page import PageRequest
from om_server.rpc.caller import Scope
from om_server.storage.audit import AuditTrail
from om_server.storage.database import Database

_KEY_DESCRIPTION = "Made at registration"


@dataclass(frozen=True, slots=True)
class Registered:
    """An organization that just registered, with its only key."""

    organization: Organization
    registration: Registration
    new_key: NewKey


class Registering:
    """Registrations of any organization. Closed where sign-up is."""

    def __init__(
        self,
        database: Database,
        accounts: AccountOperations,
        *,
        audit: AuditTrail,
        clock: Clock,
        newcomers: Newcomers,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._store = RegistrationStore()
        self._audit = audit
        self._clock = clock
        self._newcomers = newcomers

    def register(self, display_name: str, *, email: str, tier: Tier) -> Registered:
        """Create the organization; ALREADY_EXISTS if the address is registered, and nothing is created."""
        self._newcomers.admit()
        now = self._clock()
        registration = Registration(normal_email(email), tier)
        facts = {"email": registration.email, "tier": tier.value}

        def write() -> Registered:
            organization = self._accounts.create_organization(display_name)
            organization_id = organization.organization_id
            if not self._store.add(organization_id, registration, now=now):
                raise AlreadyExists("organization", registration.email)
            entry = AuditEntry("RegisterOrganization", "registration", organization_id, after=facts)
            self._audit.record(organization_id, entry)
            (team,) = self._accounts.list_teams(organization_id, PageRequest(1)).items
            # As published the one key does everything; keys that may do less are made with it.
            wish = KeyWish(team.team_id, _KEY_DESCRIPTION, frozenset(Scope))
            return Registered(organization, registration, self._accounts.create_key(organization_id, wish))

        return self._database.write(write)

    def plan(self, organization_id: str) -> str:
        """Return the name of an organization's plan; the first one where it did not register itself."""
        found = self._database.read(lambda: self._store.find(organization_id))
        return (found or Registration()).tier.value

    def find(self, organization_id: str) -> tuple[Organization, Registration]:
        """Return an organization with what it registered, if it did."""

        def read() -> tuple[Organization, Registration]:
            organization = self._accounts.get_organization(organization_id)
            return organization, self._store.find(organization_id) or Registration()

        return self._database.read(read)
