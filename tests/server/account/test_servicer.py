"""AccountService over a real socket, with real keys; unary success also without one."""

from collections.abc import Iterator
from typing import cast

import grpc
import grpc_testing
import pytest

from om.account.v1 import account_service_pb2 as pb
from om.account.v1 import account_service_pb2_grpc
from om.type.v1 import access_pb2
from om_server.account import development
from om_server.account.operations import AccountOperations
from om_server.account.servicer import AccountServicer
from om_server.core.errors import NotFound
from om_server.rpc.caller import Caller, Principal, acting_as
from om_server.rpc.convert import timestamp_to_proto
from tests.rpc import SERVICE_TOKEN, bearer, failing, made, serving
from tests.server.account.harness import SECOND, START, SetClock

Stub = account_service_pb2_grpc.AccountServiceStub

DEVELOPMENT_KEY = "om_dev_test_key"
ADMIN = bearer(DEVELOPMENT_KEY)
UNKNOWN_KEY = "key_" + "0" * 26


@pytest.fixture(name="servicer")
def make_servicer(accounts: AccountOperations) -> AccountServicer:
    accounts.seed_development(DEVELOPMENT_KEY)
    return made(AccountServicer, accounts)


@pytest.fixture(name="stub")
def serve(servicer: AccountServicer, accounts: AccountOperations) -> Iterator[Stub]:
    with serving([servicer], accounts.authenticator()) as channel:
        yield Stub(channel)


def create_key(stub: Stub, *scopes: "access_pb2.Scope.ValueType") -> pb.CreateKeyResponse:
    return stub.CreateKey(
        pb.CreateKeyRequest(team_id=development.TEAM_ID, scopes=scopes, description="Shop"), metadata=ADMIN
    )


def test_a_key_learns_who_it_is(stub: Stub) -> None:
    answer = stub.GetCaller(pb.GetCallerRequest(), metadata=ADMIN)

    assert answer == pb.GetCallerResponse(
        principal=access_pb2.PRINCIPAL_KEY,
        organization_id=development.ORGANIZATION_ID,
        team_id=development.TEAM_ID,
        key_id=development.KEY_ID,
        scopes=[
            access_pb2.SCOPE_INGEST,
            access_pb2.SCOPE_PROXY,
            access_pb2.SCOPE_READ,
            access_pb2.SCOPE_ADMIN,
        ],
    )


def test_a_key_reads_its_own_organization(stub: Stub) -> None:
    organization = stub.GetOrganization(pb.GetOrganizationRequest(), metadata=ADMIN).organization

    assert organization.organization_id == development.ORGANIZATION_ID
    assert organization.unknown_outcome_policy == "estimate_release"
    assert organization.create_time == timestamp_to_proto(START)


def test_an_edge_learns_whose_a_key_is(stub: Stub) -> None:
    answer = stub.AuthenticateKey(pb.AuthenticateKeyRequest(secret=DEVELOPMENT_KEY), metadata=bearer())

    assert (answer.organization_id, answer.team_id, answer.key_id) == (
        development.ORGANIZATION_ID,
        development.TEAM_ID,
        development.KEY_ID,
    )
    assert not answer.HasField("expire_time")


def test_a_key_may_not_ask_whose_a_key_is(stub: Stub) -> None:
    with failing() as failures:
        stub.AuthenticateKey(pb.AuthenticateKeyRequest(secret=DEVELOPMENT_KEY), metadata=ADMIN)

    assert failures[0].reason == "ACCESS_DENIED"


def test_a_wrong_key_is_told_to_the_edge_and_not_repeated(stub: Stub) -> None:
    with failing() as failures:
        stub.AuthenticateKey(pb.AuthenticateKeyRequest(secret="om_live_wrong"), metadata=bearer())

    [failure] = failures
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_INVALID")
    assert "om_live_wrong" not in repr(failure)


def test_a_service_has_no_organization_to_read(stub: Stub) -> None:
    with failing() as failures:
        stub.GetOrganization(pb.GetOrganizationRequest(), metadata=bearer(SERVICE_TOKEN))

    assert failures[0].reason == "ACCESS_DENIED"


def test_teams_are_created_read_and_listed(stub: Stub) -> None:
    created = stub.CreateTeam(pb.CreateTeamRequest(display_name="Hats"), metadata=ADMIN).team

    assert stub.GetTeam(pb.GetTeamRequest(team_id=created.team_id), metadata=ADMIN).team == created
    first = stub.ListTeams(pb.ListTeamsRequest(page_size=1), metadata=ADMIN)
    rest = stub.ListTeams(pb.ListTeamsRequest(page_token=first.next_page_token), metadata=ADMIN)
    names = [(team.display_name, team.key_count) for team in (*first.teams, *rest.teams)]
    assert sorted(names) == [("Default", 1), ("Hats", 0)]


def test_a_team_name_that_is_taken_is_a_conflict(stub: Stub) -> None:
    with failing() as failures:
        stub.CreateTeam(pb.CreateTeamRequest(display_name="Default"), metadata=ADMIN)

    assert (failures[0].code, failures[0].reason) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")


def test_a_token_of_another_list_is_refused(stub: Stub) -> None:
    stub.CreateTeam(pb.CreateTeamRequest(display_name="Hats"), metadata=ADMIN)
    token = stub.ListTeams(pb.ListTeamsRequest(page_size=1), metadata=ADMIN).next_page_token

    with failing() as failures:
        stub.ListKeys(pb.ListKeysRequest(page_token=token), metadata=ADMIN)

    assert failures[0].reason == "PAGE_TOKEN_INVALID"


def test_a_new_key_works_with_its_scopes_and_no_other(stub: Stub) -> None:
    created = create_key(stub, access_pb2.SCOPE_READ)

    mine = stub.GetCaller(pb.GetCallerRequest(), metadata=bearer(created.secret))
    assert mine.key_id == created.key.key_id
    with failing() as failures:
        stub.CreateTeam(pb.CreateTeamRequest(display_name="x"), metadata=bearer(created.secret))
    assert (failures[0].reason, failures[0].metadata) == ("SCOPE_MISSING", {"scope": "ADMIN"})


def test_a_listed_key_shows_no_secret(stub: Stub) -> None:
    created = create_key(stub)

    listed = stub.ListKeys(pb.ListKeysRequest(team_id=development.TEAM_ID), metadata=ADMIN)

    assert created.key in listed.keys
    assert created.secret not in str(listed)
    assert created.key.masked_secret == f"om_live_...{created.secret[-4:]}"
    assert created.key.scopes == [access_pb2.SCOPE_INGEST, access_pb2.SCOPE_PROXY, access_pb2.SCOPE_READ]
    assert not created.key.HasField("expire_time")
    assert not created.key.HasField("revoke_time")
    assert not created.key.HasField("last_use_time")


def test_a_test_key_ends_when_it_should(stub: Stub, clock: SetClock) -> None:
    expires = timestamp_to_proto(START + SECOND)
    created = stub.CreateKey(
        pb.CreateKeyRequest(team_id=development.TEAM_ID, test_mode=True, expire_time=expires),
        metadata=ADMIN,
    )
    request = pb.AuthenticateKeyRequest(secret=created.secret)

    answer = stub.AuthenticateKey(request, metadata=bearer())
    assert created.secret.startswith("om_test_")
    assert (answer.test_mode, answer.expire_time) == (True, expires)
    clock.advance(1)
    with failing() as failures:
        stub.AuthenticateKey(request, metadata=bearer())
    assert failures[0].reason == "CREDENTIAL_INVALID"


def test_a_revoked_key_is_refused_at_the_next_call(stub: Stub) -> None:
    created = create_key(stub)

    revoked = stub.RevokeKey(pb.RevokeKeyRequest(key_id=created.key.key_id), metadata=ADMIN).key

    assert revoked.revoke_time == timestamp_to_proto(START)
    with failing() as failures:
        stub.GetCaller(pb.GetCallerRequest(), metadata=bearer(created.secret))
    assert failures[0].reason == "CREDENTIAL_INVALID"


def test_a_rotated_key_leaves_its_place_to_another(stub: Stub) -> None:
    created = create_key(stub)

    rotated = stub.RotateKey(pb.RotateKeyRequest(key_id=created.key.key_id), metadata=ADMIN)

    assert stub.GetCaller(pb.GetCallerRequest(), metadata=bearer(rotated.secret)).key_id == rotated.key.key_id
    with failing() as failures:
        stub.RotateKey(pb.RotateKeyRequest(key_id=created.key.key_id), metadata=ADMIN)
    assert (failures[0].code, failures[0].reason) == (grpc.StatusCode.FAILED_PRECONDITION, "KEY_REVOKED")


@pytest.mark.parametrize("name", ["RevokeKey", "RotateKey"])
def test_an_unknown_key_is_not_found(stub: Stub, name: str) -> None:
    request = getattr(pb, f"{name}Request")(key_id=UNKNOWN_KEY)

    with failing() as failures:
        getattr(stub, name)(request, metadata=ADMIN)

    assert (failures[0].reason, failures[0].metadata) == ("NOT_FOUND", {"kind": "key", "id": UNKNOWN_KEY})


def test_whom_events_named_can_be_read(stub: Stub, accounts: AccountOperations) -> None:
    accounts.note_sightings(development.ORGANIZATION_ID, customers=["acme"], users=["u1", "u2"], now=START)

    customers = stub.ListCustomers(pb.ListCustomersRequest(), metadata=ADMIN)
    users = stub.ListUsers(pb.ListUsersRequest(search="U", skip=1), metadata=ADMIN)

    assert ([one.customer_id for one in customers.customers], customers.total_size) == (["acme"], 1)
    assert ([one.user_id for one in users.users], users.total_size) == (["u2"], 2)
    assert stub.GetUser(pb.GetUserRequest(user_id="u2"), metadata=ADMIN).user == users.users[0]


def test_a_handler_answers_without_server_and_wrapper(servicer: AccountServicer) -> None:
    [service] = pb.DESCRIPTOR.services_by_name.values()
    server = grpc_testing.server_from_dictionary(
        {service: servicer}, grpc_testing.strict_fake_time(START // SECOND)
    )
    method = service.methods_by_name["AuthenticateKey"]

    rpc = server.invoke_unary_unary(method, (), pb.AuthenticateKeyRequest(secret=DEVELOPMENT_KEY), None)
    answer, _, code, _ = rpc.termination()

    assert code is grpc.StatusCode.OK
    assert answer.key_id == development.KEY_ID


def test_a_handler_reads_what_is_its_callers(servicer: AccountServicer) -> None:
    stranger = Caller(Principal.KEY, organization_id="org_of_somebody_else")
    context = cast("grpc.ServicerContext", None)  # No handler here uses it.

    with acting_as(stranger):
        assert not servicer.ListTeams(pb.ListTeamsRequest(), context).teams
        assert not servicer.ListKeys(pb.ListKeysRequest(), context).keys
        with pytest.raises(NotFound):
            servicer.GetTeam(pb.GetTeamRequest(team_id=development.TEAM_ID), context)
        with pytest.raises(NotFound):
            servicer.RevokeKey(pb.RevokeKeyRequest(key_id=development.KEY_ID), context)
