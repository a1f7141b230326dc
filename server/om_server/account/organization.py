"""Who there is: organizations, their teams, and the customers and end users that their events name."""

from dataclasses import asdict, dataclass, replace

#: What an organization decides about calls without a known end, if it says nothing.
UNKNOWN_OUTCOME_DEFAULT = "estimate_release"
#: Nothing is charged for them until an owner decides.
UNKNOWN_OUTCOME_SUSPEND = "suspend"

TEAM_DEFAULT = "Default"


@dataclass(frozen=True, slots=True)
class Organization:
    """The tenant."""

    organization_id: str
    display_name: str
    create_time: int
    user_wallet_required: bool = False
    unknown_outcome_policy: str = UNKNOWN_OUTCOME_DEFAULT
    #: Since when it may use nothing; None while it may.
    suspend_time: int | None = None

    @property
    def suspended(self) -> bool:
        """Whether its keys and sessions are refused."""
        return self.suspend_time is not None


@dataclass(frozen=True, slots=True)
class OrganizationChange:
    """New settings of an organization; None leaves one as it is."""

    display_name: str | None = None
    user_wallet_required: bool | None = None
    unknown_outcome_policy: str | None = None

    def applied(self, organization: Organization) -> Organization:
        """Return the organization with its new settings."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return replace(organization, **given)


@dataclass(frozen=True, slots=True)
class Team:
    """A group that keys belong to. `key_count` counts its active keys."""

    organization_id: str
    team_id: str
    display_name: str
    create_time: int
    key_count: int = 0


@dataclass(frozen=True, slots=True)
class Customer:
    """Whom the organization bills. One that was only ever seen in events is not registered."""

    customer_id: str
    display_name: str
    create_time: int
    registered: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """An end user. The metadata is JSON text. One that was only ever seen in events is not registered."""

    user_id: str
    email: str
    metadata_json: str
    create_time: int
    update_time: int
    registered: bool = False
