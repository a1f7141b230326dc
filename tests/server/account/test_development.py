import pytest

from om_server.account import development
from om_server.core.ids import id_pattern
from om_server.rpc.caller import Scope


@pytest.mark.parametrize(
    ("prefix", "object_id"),
    [("org", development.ORGANIZATION_ID), ("team", development.TEAM_ID), ("key", development.KEY_ID)],
)
def test_ids_of_development_are_ids_of_the_contract(prefix: str, object_id: str) -> None:
    assert id_pattern(prefix).fullmatch(object_id)


def test_the_development_key_is_an_ordinary_key_that_may_do_everything() -> None:
    key = development.key("om_dev_test_key", now=5)

    assert (set(key.scopes), key.test_mode, key.create_time) == (set(Scope), False, 5)
    assert key.organization_id == development.organization(5).organization_id
    assert key.team_id == development.team(5).team_id
