"""The bodies of the /v1/admin operations. Pure."""

from collections.abc import Iterable, Mapping

from om.account.v1 import admin_service_pb2 as pb
from om_server.rest.documented.customers import TIERS, tier_text
from om_server.rest.documented.figure import exact
from om_server.rest.documented.moment import iso_text
from om_server.rest.documented.page_window import PageWindow
from om_server.rest.documented.tenant import published_id

STATUSES: Mapping[str, "pb.OrganizationStatus.ValueType"] = {
    "active": pb.ORGANIZATION_STATUS_ACTIVE,
    "suspended": pb.ORGANIZATION_STATUS_SUSPENDED,
}
_RECENT_FIELDS = ("id", "name", "email", "tier", "createdAt")


def stats_body(
    found: pb.GetInstallationResponse, newest: Iterable[pb.OrganizationSummary]
) -> dict[str, object]:
    """Everything counted. Nobody is ever churned here."""
    tiers = dict.fromkeys(TIERS, 0) | {tier_text(row.tier): row.organization_count for row in found.tiers}
    rows = map(summary_row, newest)
    return {
        "data": {
            "totalCustomers": found.organization_count,
            "totalUsers": found.user_count,
            "totalCredits": exact(found.balance.amount_nanos),
            "customersByTier": tiers,
            "customersByStatus": {
                "ACTIVE": found.organization_count - found.suspended_count,
                "SUSPENDED": found.suspended_count,
                "CHURNED": 0,
            },
            "recentCustomers": [{name: row[name] for name in _RECENT_FIELDS} for row in rows],
        }
    }


def organizations_body(reply: pb.ListOrganizationsResponse, window: PageWindow) -> dict[str, object]:
    """One page."""
    rows = [summary_row(found) for found in reply.organizations]
    return {"data": rows, "pagination": window.body(reply.total_size)}


def detail_body(reply: pb.GetOrganizationSummaryResponse) -> dict[str, object]:
    """One organization, with how much it used."""
    return {"data": summary_row(reply.organization) | {"totalUsageEvents": reply.event_count}}


def summary_row(found: pb.OrganizationSummary) -> dict[str, object]:
    """One organization. Who did not register has no address; when it was changed is in its audit log."""
    organization = found.registration.organization
    status = pb.OrganizationStatus.Name(found.status).removeprefix("ORGANIZATION_STATUS_")
    return {
        "id": published_id(organization.organization_id),
        "name": organization.display_name,
        "email": found.registration.email or None,
        "tier": tier_text(found.registration.tier),
        "status": status,
        "createdAt": iso_text(organization.create_time),
        "suspendedAt": iso_text(found.suspend_time) if found.HasField("suspend_time") else None,
        "userCount": found.user_count,
        "creditBalance": exact(found.balance.amount_nanos),
    }
