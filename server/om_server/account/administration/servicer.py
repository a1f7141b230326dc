"""AdminService on the wire."""

import grpc

from om.account.v1 import admin_service_pb2 as pb
from om.account.v1 import admin_service_pb2_grpc
from om_server.account.administration.operations import Administration
from om_server.account.administration.overview import OrganizationOverview, OrganizationSearch
from om_server.account.registration.servicer import (
    registration_to_proto,
    tier_from_proto,
    tier_to_proto,
)
from om_server.core.page import PageRequest
from om_server.rpc.convert import credits_to_proto, optional_timestamp_to_proto

_SUSPENDED = {
    pb.ORGANIZATION_STATUS_UNSPECIFIED: None,
    pb.ORGANIZATION_STATUS_ACTIVE: False,
    pb.ORGANIZATION_STATUS_SUSPENDED: True,
}


class AdminServicer(admin_service_pb2_grpc.AdminServiceServicer):
    """Translates between messages and the administration of an installation."""

    def __init__(self, administration: Administration) -> None:
        self._administration = administration

    def GetInstallation(
        self, request: pb.GetInstallationRequest, context: grpc.ServicerContext
    ) -> pb.GetInstallationResponse:
        found = self._administration.installation()
        return pb.GetInstallationResponse(
            organization_count=found.organization_count,
            suspended_count=found.suspended_count,
            user_count=found.user_count,
            balance=credits_to_proto(found.balance),
            tiers=[
                pb.TierCount(tier=tier_to_proto(tier), organization_count=count)
                for tier, count in found.tiers.items()
            ],
        )

    def ListOrganizations(
        self, request: pb.ListOrganizationsRequest, context: grpc.ServicerContext
    ) -> pb.ListOrganizationsResponse:
        search = OrganizationSearch(
            text=request.search,
            tier=tier_from_proto(request.tier) if request.tier else None,
            suspended=_SUSPENDED[request.status],
        )
        page = PageRequest.of(request.page_size, skip=request.skip)
        found, total = self._administration.list_organizations(search, page)
        return pb.ListOrganizationsResponse(organizations=map(summary_to_proto, found), total_size=total)

    def GetOrganizationSummary(
        self, request: pb.GetOrganizationSummaryRequest, context: grpc.ServicerContext
    ) -> pb.GetOrganizationSummaryResponse:
        found, event_count = self._administration.find(request.organization_id)
        return pb.GetOrganizationSummaryResponse(
            organization=summary_to_proto(found), event_count=event_count
        )

    def SuspendOrganization(
        self, request: pb.SuspendOrganizationRequest, context: grpc.ServicerContext
    ) -> pb.SuspendOrganizationResponse:
        found = self._administration.suspend(request.organization_id)
        return pb.SuspendOrganizationResponse(organization=summary_to_proto(found))

    def ActivateOrganization(
        self, request: pb.ActivateOrganizationRequest, context: grpc.ServicerContext
    ) -> pb.ActivateOrganizationResponse:
        found = self._administration.activate(request.organization_id)
        return pb.ActivateOrganizationResponse(organization=summary_to_proto(found))


def summary_to_proto(found: OrganizationOverview) -> pb.OrganizationSummary:
    organization = found.organization
    status = pb.ORGANIZATION_STATUS_SUSPENDED if organization.suspended else pb.ORGANIZATION_STATUS_ACTIVE
    return pb.OrganizationSummary(
        registration=registration_to_proto(organization, found.registration),
        status=status,
        suspend_time=optional_timestamp_to_proto(organization.suspend_time),
        user_count=found.user_count,
        balance=credits_to_proto(found.balance),
    )
