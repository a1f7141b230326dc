"""What whoever runs an installation sees of its organizations. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from om_server.account.organization import Organization
from om_server.account.registration.registration import Registration, Tier


@dataclass(frozen=True, slots=True)
class OrganizationOverview:
    """An organization with its plan; the balance is nano-credits, of all its wallets together."""

    organization: Organization
    registration: Registration
    user_count: int
    balance: int


@dataclass(frozen=True, slots=True)
class OrganizationSearch:
    """Which organizations are wanted: text within the name or address, a plan, a standing; None for any."""

    text: str = ""
    tier: Tier | None = None
    suspended: bool | None = None


@dataclass(frozen=True, slots=True)
class InstallationOverview:
    """Everything counted. A plan that nobody has is 0."""

    organization_count: int
    suspended_count: int
    user_count: int
    balance: int
    tiers: Mapping[Tier, int]
