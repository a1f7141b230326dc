import pytest

from om_server.core.errors import CredentialMissing, PermissionDenied, ScopeMissing, Unauthenticated
from om_server.rpc.access import Gate, permit
from om_server.rpc.caller import Caller, Principal, Scope
from om_server.rpc.contract import SERVICES, Rpc
from tests.rpc import Keyring, key_caller

TOKEN = "the-service-token"
KEY = key_caller(Scope.READ)


def rpc(name: str) -> Rpc:
    service = "EdgeService" if name == "Admit" else "AccountService"
    package = "om.edge.v1" if name == "Admit" else "om.account.v1"
    [found] = [found for found in SERVICES[f"{package}.{service}"] if found.name == name]
    return found


def gate(service_token: str = TOKEN) -> Gate:
    return Gate(Keyring({"om_live_1": KEY}), service_token=service_token)


@pytest.mark.parametrize(
    "metadata",
    [
        [("authorization", "Bearer om_live_1")],
        [("authorization", "bearer  om_live_1 ")],
        [("x-api-key", "om_live_1")],
        [("user-agent", "x"), ("x-api-key", " om_live_1 ")],
        [("authorization", ""), ("x-api-key", "om_live_1")],
        [("authorization", "Bearer om_live_1"), ("x-api-key", "wrong")],
    ],
)
def test_a_key_is_found_where_clients_put_it(metadata: list[tuple[str, str]]) -> None:
    assert gate().identify(rpc("GetCaller"), metadata) == KEY


@pytest.mark.parametrize(
    "metadata",
    [
        [("authorization", "Bearer wrong")],
        [("authorization", "Bearer ")],
        [("authorization", "Bearer")],
        [("authorization", "Basic om_live_1")],
        [("authorization", "om_live_1")],
        [("authorization", "Basic x"), ("x-api-key", "om_live_1")],
        [("x-api-key", "schlüssel")],
    ],
)
def test_anything_else_is_no_credential(metadata: list[tuple[str, str]]) -> None:
    with pytest.raises(Unauthenticated) as raised:
        gate().identify(rpc("GetCaller"), metadata)

    assert raised.value.reason == "CREDENTIAL_INVALID"


def test_no_credential_is_told_from_a_wrong_one() -> None:
    with pytest.raises(CredentialMissing):
        gate().identify(rpc("GetCaller"), [("authorization-bin", b"Bearer om_live_1")])


def test_the_service_token_makes_a_service() -> None:
    caller = gate().identify(rpc("Admit"), [("authorization", f"Bearer {TOKEN}")])

    assert caller == Caller(Principal.SERVICE)


@pytest.mark.parametrize("sent", [TOKEN[:-1], TOKEN + "x", TOKEN.upper()])
def test_almost_the_service_token_is_not_enough(sent: str) -> None:
    with pytest.raises(Unauthenticated):
        gate().identify(rpc("Admit"), [("authorization", f"Bearer {sent}")])


def test_without_a_service_token_nobody_is_a_service() -> None:
    with pytest.raises(CredentialMissing):
        gate("").identify(rpc("Admit"), [("authorization", "")])


@pytest.mark.parametrize("authorization", ["", "Bearer of a session that ended", "Basic x"])
def test_what_anybody_may_call_asks_for_no_credential(authorization: str) -> None:
    caller = gate().identify(rpc("SignIn"), [("authorization", authorization)])

    assert caller == Caller(Principal.ANONYMOUS)


def test_a_key_may_not_call_what_is_for_services() -> None:
    with pytest.raises(PermissionDenied) as raised:
        permit(key_caller(Scope.ADMIN), rpc("Admit"))

    assert raised.value.metadata == {"rpc": "om.edge.v1.EdgeService/Admit"}


def test_a_service_may_not_call_what_is_for_tenants() -> None:
    with pytest.raises(PermissionDenied):
        permit(Caller(Principal.SERVICE), rpc("GetOrganization"))


def test_a_key_needs_the_scope() -> None:
    with pytest.raises(ScopeMissing) as raised:
        permit(key_caller(Scope.READ, Scope.INGEST, Scope.PROXY), rpc("CreateKey"))

    assert raised.value.metadata == {"scope": "ADMIN"}


def test_an_owner_needs_no_scope() -> None:
    permit(Caller(Principal.OWNER, organization_id="org_1"), rpc("CreateKey"))


def test_a_member_may_read_and_not_change() -> None:
    member = Caller(Principal.MEMBER, organization_id="org_1")

    permit(member, rpc("ListKeys"))
    with pytest.raises(PermissionDenied):
        permit(member, rpc("CreateKey"))
