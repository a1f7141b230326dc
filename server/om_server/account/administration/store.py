"""Reads across organizations, for whoever runs the installation alone. No tenant's call ends here."""

from collections.abc import Collection
from typing import Any

import peewee

from om_server.account.administration.overview import OrganizationSearch
from om_server.account.organization import Organization
from om_server.account.reads import ORGANIZATION_COLUMNS, organization_from_row
from om_server.account.record import OrganizationRow, UserRow
from om_server.account.registration.registration import Registration, Tier
from om_server.account.registration.store import RegistrationRow

_REGISTERED = OrganizationRow.organization_id == RegistrationRow.organization_id
#: An organization that did not register itself has the first plan.
_TIER = peewee.fn.COALESCE(RegistrationRow.tier, Tier.STARTER.value)


class OverviewStore:
    """Queries of all organizations; the caller opens the transaction."""

    def organizations(
        self, search: OrganizationSearch, *, skip: int, limit: int
    ) -> list[tuple[Organization, Registration]]:
        """Return organizations with what they registered, newest first."""
        columns = (*ORGANIZATION_COLUMNS, RegistrationRow.email, _TIER)
        order = (OrganizationRow.create_time.desc(), OrganizationRow.organization_id.desc())
        rows: Any = _found(search, *columns).order_by(*order).offset(skip).limit(limit).tuples()
        return [
            (organization_from_row(columns), Registration(email or "", Tier(tier)))
            for *columns, email, tier in rows
        ]

    def count(self, search: OrganizationSearch) -> int:
        return _found(search, OrganizationRow.organization_id).count()

    def tiers(self) -> dict[Tier, int]:
        """Return how many organizations have each plan; a plan that nobody has is absent."""
        count = peewee.fn.COUNT(OrganizationRow.organization_id)
        rows: Any = _found(OrganizationSearch(), RegistrationRow.tier, count).group_by(RegistrationRow.tier)
        found = dict(rows.tuples())
        unregistered = found.pop(None, 0)
        found[Tier.STARTER.value] = found.get(Tier.STARTER.value, 0) + unregistered
        return {Tier(tier): number for tier, number in found.items()}

    def user_count(self) -> int:
        return UserRow.select().count()

    def user_counts(self, organization_ids: Collection[str]) -> dict[str, int]:
        """Return how many end users each has; one without any is absent."""
        query: peewee.ModelSelect[Any] = UserRow.select(
            UserRow.organization_id, peewee.fn.COUNT(UserRow.user_id)
        )
        rows: Any = query.where(UserRow.organization_id.in_(organization_ids))
        return dict(rows.group_by(UserRow.organization_id).tuples())


def _found(search: OrganizationSearch, *columns: peewee.Node) -> "peewee.ModelSelect[Any]":
    query: peewee.ModelSelect[Any] = OrganizationRow.select(*columns).join(
        RegistrationRow, peewee.JOIN.LEFT_OUTER, on=_REGISTERED
    )
    if search.text:
        named = OrganizationRow.display_name.contains(search.text)
        query = query.where(named | RegistrationRow.email.contains(search.text))
    if search.tier is not None:
        query = query.where(search.tier.value == _TIER)
    if search.suspended is not None:
        query = query.where(OrganizationRow.suspend_time.is_null(not search.suspended))
    return query
