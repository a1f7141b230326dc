"""What only an owner may decide, an owner's session can decide, and a member's cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om.account.v1 import account_service_pb2 as pb
from om.account.v1.account_service_pb2_grpc import AccountServiceStub
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server import wiring
from om_server.account.people.member import Role
from om_server.account.people.sign_in import SignUp
from tests.rpc import bearer, failing, serving
from tests.server.account.harness import SetClock
from tests.server.account.people.house import CHEAP, PASSWORD, KeptMail
from tests.server.pipeline.harness import CREDIT
from tests.server.pipeline.races.scene import Office, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from om_server.storage.database import Database


def denied(call: Callable[..., object], request: object, session: str) -> bool:
    with failing() as failures:
        call(request, metadata=bearer(session))
    return failures[0].reason == "ACCESS_DENIED"


def test_an_owner_decides_about_a_doubtful_lease_and_a_member_does_not(database: Database) -> None:
    mail = KeptMail()
    people = wiring.PeopleSettings(mail, "https://om.example", sign_up_open=True, password_cost=CHEAP)
    platform = wiring.build(database, clock=SetClock(), people=people)
    entrance = platform.people.entrance
    owner = entrance.sign_up(SignUp("ada@example.com", "Engines", "Ada", PASSWORD))
    organization_id = owner.organization.organization_id
    platform.people.members.create_invite(organization_id, "bob@example.com", role=Role.MEMBER)
    member = entrance.accept_invite(mail.last_secret("join"), password=PASSWORD, display_name="Bob")

    with serving(platform.servicers, platform.authenticator) as channel:
        server, accounts, ada = Server(platform, channel), AccountServiceStub(channel), bearer(owner.secret)
        [team] = accounts.ListTeams(pb.ListTeamsRequest(), metadata=ada).teams
        made = accounts.CreateKey(pb.CreateKeyRequest(team_id=team.team_id), metadata=ada)
        office = Office(organization_id, team.team_id, made.key.key_id, made.secret)
        server.grant(office, 5 * CREDIT)
        edge = server.edge(office)
        lease_id = edge.admit("call").lease.lease_id
        edge.successor().resync(clean=False)

        resolve = wallet_pb.ResolveLeaseRequest(lease_id=lease_id, reason="the disk was lost")
        assert denied(server.wallets.ResolveLease, resolve, member.secret)
        assert server.wallets.ResolveLease(resolve, metadata=ada).lease.lease_id == lease_id

        [suspense] = server.wallets.ListSuspense(wallet_pb.ListSuspenseRequest(), metadata=ada).suspense
        release = wallet_pb.ReleaseSuspenseRequest(suspense_id=suspense.suspense_id, reason="never ran")
        assert denied(server.wallets.ReleaseSuspense, release, member.secret)
        server.wallets.ReleaseSuspense(release, metadata=ada)

        assert server.money(office) == (5 * CREDIT, 0, 0)
    platform.stop()
