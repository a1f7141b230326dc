import pytest

from om_server.account.authenticator import CallerAuthenticator, KeyAuthenticator
from om_server.account.keys.key import Key
from om_server.core.errors import Unauthenticated
from om_server.rpc.caller import Caller, Principal, Scope
from tests.rpc import Keyring
from tests.server.account.keys.test_key import key


def test_a_key_calls_for_its_organization_and_team() -> None:
    asked: list[str] = []

    def find(secret: str) -> Key:
        asked.append(secret)
        return key()

    caller = KeyAuthenticator(find).authenticate("apc_1")

    assert asked == ["apc_1"]
    assert caller == Caller(
        Principal.KEY,
        organization_id="org_1",
        team_id="team_1",
        key_id="key_1",
        scopes=frozenset({Scope.READ}),
    )


def test_a_secret_that_proves_nothing_makes_no_caller() -> None:
    def refuse(_secret: str) -> Key:
        raise Unauthenticated

    with pytest.raises(Unauthenticated):
        KeyAuthenticator(refuse).authenticate("apc_1")


@pytest.mark.parametrize(
    ("secret", "kind"), [("oms_x", "session"), ("om_live_x", "key"), ("apc_x", "key"), ("", "key")]
)
def test_a_credential_is_asked_of_who_knows_its_kind(secret: str, kind: str) -> None:
    keys = Keyring({secret: Caller(Principal.KEY)})
    sessions = Keyring({secret: Caller(Principal.OWNER)})

    caller = CallerAuthenticator(keys=keys, sessions=sessions).authenticate(secret)

    assert caller.principal is (Principal.OWNER if kind == "session" else Principal.KEY)
