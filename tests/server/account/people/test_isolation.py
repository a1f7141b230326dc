"""People under the server's own role of PostgreSQL, which sees no row unless it is said whose."""

from om.account.v1 import account_service_pb2 as pb
from om.account.v1.account_service_pb2_grpc import AccountServiceStub
from om_server.account.people.servicer import PeopleServicer
from om_server.schema import MODELS
from om_server.storage.postgresql import PostgresStore
from om_server.storage.row_security import SERVER_ROLE
from tests.databases import PostgresTemplate, member_of
from tests.rpc import bearer, made, serving
from tests.server.account.harness import SetClock, make_operations
from tests.server.account.people.house import PASSWORD, make_house


def test_the_servers_role_suffices_for_all_that_is_done_about_people(
    postgres_template: PostgresTemplate, clock: SetClock
) -> None:
    with postgres_template.clone() as address, member_of(SERVER_ROLE, address) as url:
        store = PostgresStore(url, MODELS, pool_size=20)
        house = make_house(store, clock)
        servicer = made(PeopleServicer, make_operations(store, clock), house.people)
        with serving([servicer], house.authenticator) as channel:
            stub = AccountServiceStub(channel)
            wish = pb.SignUpRequest(email="ada@example.com", password=PASSWORD, organization_name="Engines")
            owner = bearer(stub.SignUp(wish).session.secret)
            stub.CreateInvite(
                pb.CreateInviteRequest(email="bob@example.com", role=pb.ROLE_MEMBER), metadata=owner
            )
            secret = house.mail.last_secret("join")
            bob = stub.AcceptInvite(pb.AcceptInviteRequest(secret=secret, password=PASSWORD)).session
            clock.advance(2 * 3600)
            members = stub.ListMembers(pb.ListMembersRequest(), metadata=bearer(bob.secret)).members
            stub.UpdateMember(
                pb.UpdateMemberRequest(member_id=bob.member.member_id, role=pb.ROLE_OWNER), metadata=owner
            )
            stub.RequestPasswordReset(pb.RequestPasswordResetRequest(email="bob@example.com"))
            stub.ResetPassword(
                pb.ResetPasswordRequest(secret=house.mail.last_secret("reset"), new_password="another horse")
            )
            again = stub.SignIn(pb.SignInRequest(email="bob@example.com", password="another horse")).session
            stub.SignOut(pb.SignOutRequest(), metadata=bearer(again.secret))
            stub.RemoveMember(pb.RemoveMemberRequest(member_id=bob.member.member_id), metadata=owner)
            left = stub.ListMembers(pb.ListMembersRequest(), metadata=owner).members
        store.close()

    assert [member.email for member in members] == ["ada@example.com", "bob@example.com"]
    assert [member.email for member in left] == ["ada@example.com"]
