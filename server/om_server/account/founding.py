"""How an organization begins: with a first team, without a wallet, and with a record of who founded it."""

from om_server.account.facts import organization_facts
from om_server.account.organization import TEAM_DEFAULT, Organization, Team
from om_server.account.store import AccountStore
from om_server.core.audit import Actor, AuditEntry
from om_server.core.clock import Clock
from om_server.core.ids import IdSource
from om_server.storage.audit import AuditTrail


class Founding:
    """Puts organizations into the database, within the caller's transaction."""

    def __init__(self, store: AccountStore, trail: AuditTrail, *, ids: IdSource, clock: Clock) -> None:
        self._store = store
        self._trail = trail
        self._ids = ids
        self._clock = clock

    def found(self, display_name: str, *, founder: Actor | None = None) -> Organization:
        """Create an organization; without a founder it is whoever makes the running call."""
        now = self._clock()
        organization = Organization(self._ids.new("org"), display_name, now)
        team = Team(organization.organization_id, self._ids.new("team"), TEAM_DEFAULT, now)
        self.place(organization, team, founder=founder)
        return organization

    def place(self, organization: Organization, team: Team, *, founder: Actor | None = None) -> None:
        """Add an organization that is made already."""
        self._store.add_organization(organization)
        self._store.add_team(team)
        organization_id = organization.organization_id
        facts = organization_facts(organization)
        entry = AuditEntry("CreateOrganization", "organization", organization_id, after=facts)
        self._trail.record(organization_id, entry, actor=founder)
