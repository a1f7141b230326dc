"""People over a real socket: sign-up to removal, and who may do what."""

from collections.abc import Iterator

import grpc
import pytest

from om.account.v1 import account_service_pb2 as pb
from om.account.v1 import account_service_pb2_grpc
from om.type.v1 import access_pb2
from om_server.account.operations import AccountOperations
from om_server.account.people.servicer import PeopleServicer
from om_server.account.people.session import ABSOLUTE_LIMIT
from om_server.rpc.convert import timestamp_to_proto
from tests.rpc import bearer, failing, made, serving
from tests.server.account.harness import START
from tests.server.account.people.house import PASSWORD, House

# The operations behind are tested on both.
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

Stub = account_service_pb2_grpc.AccountServiceStub
Metadata = tuple[tuple[str, str], ...]

ADA, BOB = "ada@example.com", "bob@example.com"
NOBODY = "mem_" + "0" * 26
UNINVITED = "inv_" + "0" * 26


@pytest.fixture(name="stub")
def serve(accounts: AccountOperations, house: House) -> Iterator[Stub]:
    with serving([made(PeopleServicer, accounts, house.people)], house.authenticator) as channel:
        yield Stub(channel)


def sign_up(stub: Stub, email: str = ADA) -> pb.Session:
    request = pb.SignUpRequest(
        email=email, password=PASSWORD, organization_name="Engines", display_name="Ada"
    )
    return stub.SignUp(request).session


def invite(stub: Stub, owner: Metadata, email: str = BOB) -> pb.Invite:
    request = pb.CreateInviteRequest(email=email, role=pb.ROLE_MEMBER)
    return stub.CreateInvite(request, metadata=owner).invite


def join(stub: Stub, house: House, owner: Metadata, email: str = BOB) -> pb.Session:
    invite(stub, owner, email)
    secret = house.mail.last_secret("join")
    return stub.AcceptInvite(pb.AcceptInviteRequest(secret=secret, password=PASSWORD)).session


def reason(stub: Stub, name: str, request: object, metadata: Metadata = ()) -> str:
    with failing() as failures:
        getattr(stub, name)(request, metadata=metadata)
    return failures[0].reason


@pytest.mark.acceptance("B-189")
def test_one_begins_with_sign_up_then_a_team_and_its_key(stub: Stub) -> None:
    session = sign_up(stub)
    owner = bearer(session.secret)

    team = stub.CreateTeam(pb.CreateTeamRequest(display_name="Backend"), metadata=owner).team
    key = stub.CreateKey(pb.CreateKeyRequest(team_id=team.team_id, prefix="apc_"), metadata=owner)

    assert session.expire_time == timestamp_to_proto(START + ABSOLUTE_LIMIT)
    assert (session.member.email, session.member.role) == (ADA, pb.ROLE_OWNER)
    caller = stub.GetCaller(pb.GetCallerRequest(), metadata=owner)
    assert caller == pb.GetCallerResponse(
        principal=access_pb2.PRINCIPAL_OWNER,
        organization_id=session.organization.organization_id,
        member_id=session.member.member_id,
    )
    used = stub.GetCaller(pb.GetCallerRequest(), metadata=bearer(key.secret))
    assert (used.organization_id, used.team_id) == (caller.organization_id, team.team_id)


@pytest.mark.acceptance("B-228")
def test_the_list_of_members_has_address_role_and_join_date(stub: Stub, house: House) -> None:
    ada = sign_up(stub)
    bob = join(stub, house, bearer(ada.secret))

    first = stub.ListMembers(pb.ListMembersRequest(page_size=1), metadata=bearer(bob.secret))
    rest = stub.ListMembers(
        pb.ListMembersRequest(page_token=first.next_page_token), metadata=bearer(bob.secret)
    )

    assert [*first.members, *rest.members] == [ada.member, bob.member]
    told = [(one.email, one.role, one.create_time) for one in (*first.members, *rest.members)]
    joined = timestamp_to_proto(START)
    assert told == [(ADA, pb.ROLE_OWNER, joined), (BOB, pb.ROLE_MEMBER, joined)]


@pytest.mark.acceptance("B-229")
def test_who_is_invited_gets_a_mail_with_a_link_that_lets_him_join(stub: Stub, house: House) -> None:
    owner = bearer(sign_up(stub).secret)

    invited = invite(stub, owner)

    assert [mail.recipient for mail in house.mail.sent] == [BOB]
    assert list(stub.ListInvites(pb.ListInvitesRequest(), metadata=owner).invites) == [invited]
    secret = house.mail.last_secret("join")
    assert secret not in str(invited)
    joined = stub.AcceptInvite(
        pb.AcceptInviteRequest(secret=secret, password=PASSWORD, display_name="Bob")
    ).session
    assert (joined.member.display_name, joined.member.role) == ("Bob", pb.ROLE_MEMBER)
    assert not stub.ListInvites(pb.ListInvitesRequest(), metadata=owner).invites


@pytest.mark.acceptance("B-230")
def test_a_removed_member_loses_access_at_once(stub: Stub, house: House) -> None:
    owner = bearer(sign_up(stub).secret)
    bob = join(stub, house, owner)
    stub.GetOrganization(pb.GetOrganizationRequest(), metadata=bearer(bob.secret))

    stub.RemoveMember(pb.RemoveMemberRequest(member_id=bob.member.member_id), metadata=owner)

    request = pb.GetOrganizationRequest()
    assert reason(stub, "GetOrganization", request, bearer(bob.secret)) == "CREDENTIAL_INVALID"
    sign_in = pb.SignInRequest(email=BOB, password=PASSWORD)
    assert reason(stub, "SignIn", sign_in) == "CREDENTIAL_INVALID"


OWNERS_ONLY = (
    ("CreateInvite", pb.CreateInviteRequest(email="eve@example.com", role=pb.ROLE_MEMBER)),
    ("RevokeInvite", pb.RevokeInviteRequest(invite_id=UNINVITED)),
    ("UpdateMember", pb.UpdateMemberRequest(member_id=NOBODY, role=pb.ROLE_OWNER)),
    ("RemoveMember", pb.RemoveMemberRequest(member_id=NOBODY)),
    ("UpdateOrganization", pb.UpdateOrganizationRequest(display_name="Mine")),
    ("CreateTeam", pb.CreateTeamRequest(display_name="Mine")),
)


@pytest.mark.acceptance("B-231")
def test_only_owners_invite_remove_and_change_settings(stub: Stub, house: House) -> None:
    owner = bearer(sign_up(stub).secret)
    bob = bearer(join(stub, house, owner).secret)

    refused = {name: reason(stub, name, request, bob) for name, request in OWNERS_ONLY}

    assert set(refused.values()) == {"ACCESS_DENIED"}
    assert (
        stub.GetOrganization(pb.GetOrganizationRequest(), metadata=bob).organization.display_name == "Engines"
    )
    assert len(stub.ListMembers(pb.ListMembersRequest(), metadata=bob).members) == 2
    assert not stub.ListInvites(pb.ListInvitesRequest(), metadata=bob).invites


def test_a_new_role_holds_at_the_next_call(stub: Stub, house: House) -> None:
    owner = bearer(sign_up(stub).secret)
    bob = join(stub, house, owner)

    request = pb.UpdateMemberRequest(member_id=bob.member.member_id, role=pb.ROLE_OWNER)
    assert stub.UpdateMember(request, metadata=owner).member.role == pb.ROLE_OWNER

    assert invite(stub, bearer(bob.secret), "eve@example.com").email == "eve@example.com"


def test_the_last_owner_stays(stub: Stub) -> None:
    session = sign_up(stub)

    with failing() as failures:
        stub.RemoveMember(
            pb.RemoveMemberRequest(member_id=session.member.member_id), metadata=bearer(session.secret)
        )

    [failure] = failures
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LAST_OWNER")
    assert failure.metadata == {"member_id": session.member.member_id}


def test_strangers_objects_answer_like_random_ids(stub: Stub) -> None:
    owner, stranger = bearer(sign_up(stub).secret), sign_up(stub, "zoe@example.com")
    foreign = invite(stub, bearer(stranger.secret))

    for name, member_id in (("UpdateMember", stranger.member.member_id), ("UpdateMember", NOBODY)):
        request = pb.UpdateMemberRequest(member_id=member_id, role=pb.ROLE_MEMBER)
        assert reason(stub, name, request, owner) == "NOT_FOUND"
    for invite_id in (foreign.invite_id, UNINVITED):
        revoke = pb.RevokeInviteRequest(invite_id=invite_id)
        assert reason(stub, "RevokeInvite", revoke, owner) == "NOT_FOUND"


def test_an_invite_is_taken_back(stub: Stub, house: House) -> None:
    owner = bearer(sign_up(stub).secret)
    invited = invite(stub, owner)

    stub.RevokeInvite(pb.RevokeInviteRequest(invite_id=invited.invite_id), metadata=owner)

    request = pb.AcceptInviteRequest(secret=house.mail.last_secret("join"), password=PASSWORD)
    assert reason(stub, "AcceptInvite", request) == "CREDENTIAL_INVALID"


def test_a_mail_server_that_is_away_is_told_to_the_owner(stub: Stub, house: House) -> None:
    owner = bearer(sign_up(stub).secret)
    house.mail.away = True

    with failing() as failures:
        invite(stub, owner)

    [failure] = failures
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")
    assert len(stub.ListInvites(pb.ListInvitesRequest(), metadata=owner).invites) == 1


def test_who_signed_out_is_out(stub: Stub) -> None:
    session = sign_up(stub)
    other = stub.SignIn(pb.SignInRequest(email=ADA, password=PASSWORD)).session

    stub.SignOut(pb.SignOutRequest(), metadata=bearer(session.secret))

    assert reason(stub, "SignOut", pb.SignOutRequest(), bearer(session.secret)) == "CREDENTIAL_INVALID"
    assert stub.GetCaller(pb.GetCallerRequest(), metadata=bearer(other.secret)).member_id


def test_an_old_session_does_not_hinder_a_new_sign_in(stub: Stub) -> None:
    session = sign_up(stub)
    stub.SignOut(pb.SignOutRequest(), metadata=bearer(session.secret))

    request = pb.SignInRequest(email=ADA, password=PASSWORD)
    assert stub.SignIn(request, metadata=bearer(session.secret)).session.member == session.member


def test_a_forgotten_password_is_set_anew_and_every_session_ends(stub: Stub, house: House) -> None:
    session = sign_up(stub)

    stub.RequestPasswordReset(pb.RequestPasswordResetRequest(email=ADA))
    secret = house.mail.last_secret("reset")
    request = pb.ResetPasswordRequest(secret=secret, new_password="another horse")
    stub.ResetPassword(request)

    assert reason(stub, "GetCaller", pb.GetCallerRequest(), bearer(session.secret)) == "CREDENTIAL_INVALID"
    assert reason(stub, "ResetPassword", request) == "CREDENTIAL_INVALID"
    assert stub.SignIn(pb.SignInRequest(email=ADA, password="another horse")).session.secret


def test_too_many_guesses_are_told_as_such(stub: Stub) -> None:
    request = pb.SignInRequest(email=ADA, password="a guess of mine")
    assert {reason(stub, "SignIn", request) for _ in range(10)} == {"CREDENTIAL_INVALID"}

    with failing() as failures:
        stub.SignIn(request)

    [failure] = failures
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "SIGN_IN_LIMITED")
    assert failure.metadata == {"retry_after_s": "900"}


@pytest.mark.parametrize(
    ("name", "request_", "field"),
    [
        ("SignUp", pb.SignUpRequest(email="ada", password=PASSWORD, organization_name="x"), "email"),
        ("SignUp", pb.SignUpRequest(email=ADA, password="short", organization_name="x"), "password"),
        ("SignUp", pb.SignUpRequest(email=ADA, password=PASSWORD), "organization_name"),
        ("SignUp", pb.SignUpRequest(email=ADA, password="ü" * 513, organization_name="x"), "password"),
        ("SignIn", pb.SignInRequest(email=ADA), "password"),
        ("ResetPassword", pb.ResetPasswordRequest(secret="omr_x", new_password="short"), "new_password"),
        ("RequestPasswordReset", pb.RequestPasswordResetRequest(email="x" * 255), "email"),
    ],
)
def test_a_wrong_field_is_named_and_its_value_is_not_repeated(
    stub: Stub, name: str, request_: object, field: str
) -> None:
    with failing() as failures:
        getattr(stub, name)(request_)

    [failure] = failures
    assert (failure.reason, list(failure.violations)) == ("INVALID_ARGUMENT", [field])
    assert PASSWORD not in repr(failure)


def test_a_session_is_no_key(stub: Stub) -> None:
    request = pb.AuthenticateKeyRequest(secret=sign_up(stub).secret)

    assert reason(stub, "AuthenticateKey", request, bearer()) == "CREDENTIAL_INVALID"
