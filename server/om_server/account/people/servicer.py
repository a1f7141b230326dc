"""AccountService on the wire, whole: what `servicer` answers, and people on top."""

from dataclasses import dataclass

import grpc

from om.account.v1 import account_service_pb2 as pb
from om_server.account.operations import AccountOperations
from om_server.account.people.invite import Invite
from om_server.account.people.member import Member, Role
from om_server.account.people.operations import PeopleOperations
from om_server.account.people.password_reset import PasswordResets
from om_server.account.people.session import NewSession
from om_server.account.people.sign_in import SignInOperations, SignUp
from om_server.account.servicer import AccountServicer, organization_to_proto
from om_server.rpc.caller import caller
from om_server.rpc.convert import page_from_proto, timestamp_to_proto


@dataclass(frozen=True, slots=True)
class People:
    """Everything that is done about people."""

    members: PeopleOperations
    entrance: SignInOperations
    resets: PasswordResets


class PeopleServicer(AccountServicer):
    """Translates between messages and the operations on accounts and people."""

    def __init__(self, operations: AccountOperations, people: People) -> None:
        super().__init__(operations)
        self._members = people.members
        self._entrance = people.entrance
        self._resets = people.resets

    def SignUp(self, request: pb.SignUpRequest, context: grpc.ServicerContext) -> pb.SignUpResponse:
        wish = SignUp(request.email, request.organization_name, request.display_name, request.password)
        return pb.SignUpResponse(session=session_to_proto(self._entrance.sign_up(wish)))

    def SignIn(self, request: pb.SignInRequest, context: grpc.ServicerContext) -> pb.SignInResponse:
        session = self._entrance.sign_in(request.email, request.password)
        return pb.SignInResponse(session=session_to_proto(session))

    def SignOut(self, request: pb.SignOutRequest, context: grpc.ServicerContext) -> pb.SignOutResponse:
        self._entrance.sign_out(caller())
        return pb.SignOutResponse()

    def RequestPasswordReset(
        self, request: pb.RequestPasswordResetRequest, context: grpc.ServicerContext
    ) -> pb.RequestPasswordResetResponse:
        self._resets.request(request.email)
        return pb.RequestPasswordResetResponse()

    def ResetPassword(
        self, request: pb.ResetPasswordRequest, context: grpc.ServicerContext
    ) -> pb.ResetPasswordResponse:
        self._resets.reset(request.secret, request.new_password)
        return pb.ResetPasswordResponse()

    def ListMembers(
        self, request: pb.ListMembersRequest, context: grpc.ServicerContext
    ) -> pb.ListMembersResponse:
        page = self._members.list_members(caller().organization_id, page_from_proto(request))
        return pb.ListMembersResponse(
            members=[member_to_proto(member) for member in page.items], next_page_token=page.next_page_token
        )

    def UpdateMember(
        self, request: pb.UpdateMemberRequest, context: grpc.ServicerContext
    ) -> pb.UpdateMemberResponse:
        member = self._members.update_member(
            caller().organization_id, request.member_id, role=role_from_proto(request.role)
        )
        return pb.UpdateMemberResponse(member=member_to_proto(member))

    def RemoveMember(
        self, request: pb.RemoveMemberRequest, context: grpc.ServicerContext
    ) -> pb.RemoveMemberResponse:
        self._members.remove_member(caller().organization_id, request.member_id)
        return pb.RemoveMemberResponse()

    def CreateInvite(
        self, request: pb.CreateInviteRequest, context: grpc.ServicerContext
    ) -> pb.CreateInviteResponse:
        invite = self._members.create_invite(
            caller().organization_id, request.email, role=role_from_proto(request.role)
        )
        return pb.CreateInviteResponse(invite=invite_to_proto(invite))

    def ListInvites(
        self, request: pb.ListInvitesRequest, context: grpc.ServicerContext
    ) -> pb.ListInvitesResponse:
        page = self._members.list_invites(caller().organization_id, page_from_proto(request))
        return pb.ListInvitesResponse(
            invites=[invite_to_proto(invite) for invite in page.items], next_page_token=page.next_page_token
        )

    def RevokeInvite(
        self, request: pb.RevokeInviteRequest, context: grpc.ServicerContext
    ) -> pb.RevokeInviteResponse:
        self._members.revoke_invite(caller().organization_id, request.invite_id)
        return pb.RevokeInviteResponse()

    def AcceptInvite(
        self, request: pb.AcceptInviteRequest, context: grpc.ServicerContext
    ) -> pb.AcceptInviteResponse:
        session = self._entrance.accept_invite(
            request.secret, password=request.password, display_name=request.display_name
        )
        return pb.AcceptInviteResponse(session=session_to_proto(session))


def member_to_proto(member: Member) -> pb.Member:
    return pb.Member(
        member_id=member.member_id,
        email=member.email,
        display_name=member.display_name,
        role=role_to_proto(member.role),
        create_time=timestamp_to_proto(member.create_time),
    )


def invite_to_proto(invite: Invite) -> pb.Invite:
    return pb.Invite(
        invite_id=invite.invite_id,
        email=invite.email,
        role=role_to_proto(invite.role),
        expire_time=timestamp_to_proto(invite.expire_time),
        create_time=timestamp_to_proto(invite.create_time),
    )


def session_to_proto(new: NewSession) -> pb.Session:
    return pb.Session(
        secret=new.secret,
        expire_time=timestamp_to_proto(new.session.expire_time),
        member=member_to_proto(new.member),
        organization=organization_to_proto(new.organization),
    )


def role_from_proto(role: "pb.Role.ValueType") -> Role:
    return Role[pb.Role.Name(role).removeprefix("ROLE_")]


def role_to_proto(role: Role) -> "pb.Role.ValueType":
    return pb.Role.Value(f"ROLE_{role.name}")
