"""AccountService on the wire, but for people, whom `people_servicer` adds."""

import grpc

from om.account.v1 import account_service_pb2 as pb
from om.account.v1 import account_service_pb2_grpc
from om.type.v1 import access_pb2
from om_server.account.keys.wire import (
    authenticated_to_proto,
    key_change_from_proto,
    key_to_proto,
    key_wish_from_proto,
    scopes_to_proto,
)
from om_server.account.operations import AccountOperations
from om_server.account.organization import Customer, Organization, OrganizationChange, Team, User
from om_server.rpc.caller import Principal, caller
from om_server.rpc.convert import (
    page_from_proto,
    timestamp_to_proto,
)
from om_server.rpc.convert_struct import struct_from_proto, struct_to_proto
from om_server.storage.audit import AuditRecord


class AccountServicer(account_service_pb2_grpc.AccountServiceServicer):
    """Translates between messages and the operations of accounts."""

    def __init__(self, operations: AccountOperations) -> None:
        self._operations = operations

    def AuthenticateKey(
        self, request: pb.AuthenticateKeyRequest, context: grpc.ServicerContext
    ) -> pb.AuthenticateKeyResponse:
        key = self._operations.authenticate_key(request.secret)
        return authenticated_to_proto(key)

    def GetCaller(self, request: pb.GetCallerRequest, context: grpc.ServicerContext) -> pb.GetCallerResponse:
        who = caller()
        return pb.GetCallerResponse(
            principal=principal_to_proto(who.principal),
            organization_id=who.organization_id,
            team_id=who.team_id,
            key_id=who.key_id,
            member_id=who.member_id,
            scopes=scopes_to_proto(who.scopes),
        )

    def GetOrganization(
        self, request: pb.GetOrganizationRequest, context: grpc.ServicerContext
    ) -> pb.GetOrganizationResponse:
        organization = self._operations.get_organization(caller().organization_id)
        return pb.GetOrganizationResponse(organization=organization_to_proto(organization))

    def UpdateOrganization(
        self, request: pb.UpdateOrganizationRequest, context: grpc.ServicerContext
    ) -> pb.UpdateOrganizationResponse:
        organization = self._operations.update_organization(
            caller().organization_id, organization_change_from_proto(request)
        )
        return pb.UpdateOrganizationResponse(organization=organization_to_proto(organization))

    def CreateTeam(
        self, request: pb.CreateTeamRequest, context: grpc.ServicerContext
    ) -> pb.CreateTeamResponse:
        team = self._operations.create_team(caller().organization_id, request.display_name)
        return pb.CreateTeamResponse(team=team_to_proto(team))

    def GetTeam(self, request: pb.GetTeamRequest, context: grpc.ServicerContext) -> pb.GetTeamResponse:
        team = self._operations.get_team(caller().organization_id, request.team_id)
        return pb.GetTeamResponse(team=team_to_proto(team))

    def ListTeams(self, request: pb.ListTeamsRequest, context: grpc.ServicerContext) -> pb.ListTeamsResponse:
        page = self._operations.list_teams(caller().organization_id, page_from_proto(request))
        return pb.ListTeamsResponse(
            teams=[team_to_proto(team) for team in page.items], next_page_token=page.next_page_token
        )

    def UpdateTeam(
        self, request: pb.UpdateTeamRequest, context: grpc.ServicerContext
    ) -> pb.UpdateTeamResponse:
        team = self._operations.rename_team(
            caller().organization_id, request.team_id, display_name=request.display_name
        )
        return pb.UpdateTeamResponse(team=team_to_proto(team))

    def CreateKey(self, request: pb.CreateKeyRequest, context: grpc.ServicerContext) -> pb.CreateKeyResponse:
        new = self._operations.create_key(caller().organization_id, key_wish_from_proto(request))
        return pb.CreateKeyResponse(key=key_to_proto(new.key), secret=new.secret)

    def UpdateKey(self, request: pb.UpdateKeyRequest, context: grpc.ServicerContext) -> pb.UpdateKeyResponse:
        key = self._operations.update_key(
            caller().organization_id, request.key_id, key_change_from_proto(request)
        )
        return pb.UpdateKeyResponse(key=key_to_proto(key))

    def ListKeys(self, request: pb.ListKeysRequest, context: grpc.ServicerContext) -> pb.ListKeysResponse:
        page = self._operations.list_keys(
            caller().organization_id, page_from_proto(request), team_id=request.team_id
        )
        return pb.ListKeysResponse(
            keys=[key_to_proto(key) for key in page.items], next_page_token=page.next_page_token
        )

    def RevokeKey(self, request: pb.RevokeKeyRequest, context: grpc.ServicerContext) -> pb.RevokeKeyResponse:
        key = self._operations.revoke_key(caller().organization_id, request.key_id)
        return pb.RevokeKeyResponse(key=key_to_proto(key))

    def RotateKey(self, request: pb.RotateKeyRequest, context: grpc.ServicerContext) -> pb.RotateKeyResponse:
        new = self._operations.rotate_key(
            caller().organization_id, request.key_id, overlap_seconds=request.overlap_seconds
        )
        return pb.RotateKeyResponse(key=key_to_proto(new.key), secret=new.secret)

    def ListCustomers(
        self, request: pb.ListCustomersRequest, context: grpc.ServicerContext
    ) -> pb.ListCustomersResponse:
        page = self._operations.list_customers(
            caller().organization_id, page_from_proto(request, skip=request.skip)
        )
        return pb.ListCustomersResponse(
            customers=[customer_to_proto(customer) for customer in page.items],
            next_page_token=page.next_page_token,
            total_size=page.total_size,
        )

    def CreateCustomer(
        self, request: pb.CreateCustomerRequest, context: grpc.ServicerContext
    ) -> pb.CreateCustomerResponse:
        customer = self._operations.create_customer(
            caller().organization_id,
            request.customer.customer_id,
            display_name=request.customer.display_name,
        )
        return pb.CreateCustomerResponse(customer=customer_to_proto(customer))

    def CreateUser(
        self, request: pb.CreateUserRequest, context: grpc.ServicerContext
    ) -> pb.CreateUserResponse:
        user = self._operations.create_user(
            caller().organization_id,
            request.user.user_id,
            email=request.user.email,
            metadata_json=struct_from_proto(request.user.metadata, "user.metadata"),
        )
        return pb.CreateUserResponse(user=user_to_proto(user))

    def ListAuditRecords(
        self, request: pb.ListAuditRecordsRequest, context: grpc.ServicerContext
    ) -> pb.ListAuditRecordsResponse:
        page = self._operations.list_audit_records(caller().organization_id, page_from_proto(request))
        return pb.ListAuditRecordsResponse(
            audit_records=[audit_record_to_proto(record) for record in page.items],
            next_page_token=page.next_page_token,
        )

    def GetUser(self, request: pb.GetUserRequest, context: grpc.ServicerContext) -> pb.GetUserResponse:
        user = self._operations.get_user(caller().organization_id, request.user_id)
        return pb.GetUserResponse(user=user_to_proto(user))

    def ListUsers(self, request: pb.ListUsersRequest, context: grpc.ServicerContext) -> pb.ListUsersResponse:
        page = self._operations.list_users(
            caller().organization_id, page_from_proto(request, skip=request.skip), search=request.search
        )
        return pb.ListUsersResponse(
            users=[user_to_proto(user) for user in page.items],
            next_page_token=page.next_page_token,
            total_size=page.total_size,
        )


def organization_change_from_proto(request: pb.UpdateOrganizationRequest) -> OrganizationChange:
    """Leave out what is absent, which is not what is empty or false."""
    required, policy = request.HasField("user_wallet_required"), request.HasField("unknown_outcome_policy")
    return OrganizationChange(
        display_name=request.display_name if request.HasField("display_name") else None,
        user_wallet_required=request.user_wallet_required if required else None,
        unknown_outcome_policy=request.unknown_outcome_policy if policy else None,
    )


def organization_to_proto(organization: Organization) -> pb.Organization:
    return pb.Organization(
        organization_id=organization.organization_id,
        display_name=organization.display_name,
        user_wallet_required=organization.user_wallet_required,
        unknown_outcome_policy=organization.unknown_outcome_policy,
        create_time=timestamp_to_proto(organization.create_time),
    )


def team_to_proto(team: Team) -> pb.Team:
    return pb.Team(
        team_id=team.team_id,
        display_name=team.display_name,
        key_count=team.key_count,
        create_time=timestamp_to_proto(team.create_time),
    )


def customer_to_proto(customer: Customer) -> pb.Customer:
    return pb.Customer(
        customer_id=customer.customer_id,
        display_name=customer.display_name,
        create_time=timestamp_to_proto(customer.create_time),
    )


def user_to_proto(user: User) -> pb.User:
    return pb.User(
        user_id=user.user_id,
        email=user.email,
        metadata=struct_to_proto(user.metadata_json),
        create_time=timestamp_to_proto(user.create_time),
        update_time=timestamp_to_proto(user.update_time),
    )


def audit_record_to_proto(record: AuditRecord) -> pb.AuditRecord:
    return pb.AuditRecord(
        audit_record_id=record.audit_record_id,
        actor=record.actor,
        action=record.action,
        object_type=record.object_type,
        object_id=record.object_id,
        before=None if record.before is None else struct_to_proto(record.before),
        after=None if record.after is None else struct_to_proto(record.after),
        request_id=record.request_id,
        create_time=timestamp_to_proto(record.create_time),
    )


def principal_to_proto(principal: Principal) -> "access_pb2.Principal.ValueType":
    return access_pb2.Principal.Value(f"PRINCIPAL_{principal.name}")
