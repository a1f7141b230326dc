"""RegistrationService on the wire."""

import grpc

from om.account.v1 import registration_service_pb2 as pb
from om.account.v1 import registration_service_pb2_grpc
from om_server.account.keys.wire import key_to_proto
from om_server.account.organization import Organization
from om_server.account.registration.operations import Registering
from om_server.account.registration.registration import Registration, Tier
from om_server.account.servicer import organization_to_proto
from om_server.rpc.caller import caller


class RegistrationServicer(registration_service_pb2_grpc.RegistrationServiceServicer):
    """Translates between messages and registrations."""

    def __init__(self, operations: Registering) -> None:
        self._operations = operations

    def RegisterOrganization(
        self, request: pb.RegisterOrganizationRequest, context: grpc.ServicerContext
    ) -> pb.RegisterOrganizationResponse:
        done = self._operations.register(
            request.display_name, email=request.email, tier=tier_from_proto(request.tier)
        )
        return pb.RegisterOrganizationResponse(
            registration=registration_to_proto(done.organization, done.registration),
            key=key_to_proto(done.new_key.key),
            secret=done.new_key.secret,
        )

    def GetRegistration(
        self, request: pb.GetRegistrationRequest, context: grpc.ServicerContext
    ) -> pb.GetRegistrationResponse:
        organization, registration = self._operations.find(caller().organization_id)
        return pb.GetRegistrationResponse(registration=registration_to_proto(organization, registration))


def registration_to_proto(organization: Organization, registration: Registration) -> pb.Registration:
    return pb.Registration(
        organization=organization_to_proto(organization),
        email=registration.email,
        tier=tier_to_proto(registration.tier),
    )


def tier_to_proto(tier: Tier) -> "pb.Tier.ValueType":
    return pb.Tier.Value(f"TIER_{tier.name}")


def tier_from_proto(tier: "pb.Tier.ValueType") -> Tier:
    """Translate the plan; the contract reads unspecified as the first."""
    return Tier.STARTER if tier == pb.TIER_UNSPECIFIED else Tier[pb.Tier.Name(tier).removeprefix("TIER_")]
