"""What whoever runs an installation does with organizations: count, list, suspend and activate them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from om_server.account.administration.overview import (
    InstallationOverview,
    OrganizationOverview,
    OrganizationSearch,
)
from om_server.account.administration.store import OverviewStore
from om_server.account.organization import Organization
from om_server.account.registration.registration import Registration, Tier
from om_server.account.registration.store import RegistrationStore
from om_server.account.store import AccountStore
from om_server.core.audit import AuditEntry, moment
from om_server.core.clock import Clock
from om_server.core.errors import NotFound
from om_server.core.page import PageRequest
from om_server.storage.audit import AuditTrail
from om_server.storage.database import Database


@dataclass(frozen=True, slots=True)
class Figures:
    """What other slices know of organizations."""

    #: Nano-credits in all wallets of each of these, or of every organization; one without any is absent.
    balances: Callable[[Collection[str] | None], Mapping[str, int]]
    #: How many events were settled for one.
    event_count: Callable[[str], int]


class Administration:
    """Organizations of an installation. Whoever may call it is no tenant."""

    def __init__(
        self, database: Database, accounts: AccountStore, *, figures: Figures, audit: AuditTrail, clock: Clock
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._figures = figures
        self._audit = audit
        self._clock = clock
        self._store = OverviewStore()
        self._registrations = RegistrationStore()

    def installation(self) -> InstallationOverview:
        """Count everything."""

        def read() -> InstallationOverview:
            found = self._store.tiers()
            return InstallationOverview(
                organization_count=sum(found.values()),
                suspended_count=self._store.count(OrganizationSearch(suspended=True)),
                user_count=self._store.user_count(),
                balance=sum(self._figures.balances(None).values()),
                tiers={tier: found.get(tier, 0) for tier in Tier},
            )

        return self._database.read(read)

    def list_organizations(
        self, search: OrganizationSearch, page: PageRequest
    ) -> tuple[list[OrganizationOverview], int]:
        """Return organizations, newest first, and how many match in all."""

        def read() -> tuple[list[OrganizationOverview], int]:
            found = self._store.organizations(search, skip=page.skip, limit=page.size)
            return self._overviews(found), self._store.count(search)

        return self._database.read(read)

    def find(self, organization_id: str) -> tuple[OrganizationOverview, int]:
        """Return an organization, and how many events were settled for it."""
        return self._database.read(
            lambda: (self._overview(organization_id), self._figures.event_count(organization_id))
        )

    def suspend(self, organization_id: str) -> OrganizationOverview:
        """Refuse the keys and sessions of an organization; the first time stays if it is repeated."""
        return self._database.write(lambda: self._stand(organization_id, suspended=True))

    def activate(self, organization_id: str) -> OrganizationOverview:
        """Let the keys and sessions of an organization in again."""
        return self._database.write(lambda: self._stand(organization_id, suspended=False))

    def _stand(self, organization_id: str, *, suspended: bool) -> OrganizationOverview:
        self._accounts.lock_organization(organization_id)
        before = self._require(organization_id)
        if before.suspended is not suspended:
            suspend_time = self._clock() if suspended else None
            self._accounts.set_suspend_time(organization_id, suspend_time)
            entry = AuditEntry(
                "SuspendOrganization" if suspended else "ActivateOrganization",
                "organization",
                organization_id,
                before={"suspend_time": moment(before.suspend_time)},
                after={"suspend_time": moment(suspend_time)},
            )
            self._audit.record(organization_id, entry)
        return self._overview(organization_id)

    def _require(self, organization_id: str) -> Organization:
        found = self._accounts.find_organization(organization_id)
        if found is None:
            raise NotFound("organization", organization_id)
        return found

    def _overview(self, organization_id: str) -> OrganizationOverview:
        organization = self._require(organization_id)
        registration = self._registrations.find(organization_id) or Registration()
        return self._overviews([(organization, registration)])[0]

    def _overviews(self, found: list[tuple[Organization, Registration]]) -> list[OrganizationOverview]:
        ids = [organization.organization_id for organization, _ in found]
        users, balances = self._store.user_counts(ids), self._figures.balances(ids)
        return [
            OrganizationOverview(
                organization,
                registration,
                users.get(organization.organization_id, 0),
                balances.get(organization.organization_id, 0),
            )
            for organization, registration in found
        ]
