"""Keys and teams as people handle them, over a real server."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from om_server.core.ids import checksum_ok
from om_server.rpc.caller import Principal
from om_server.schema import MODELS
from om_server.storage.migrate import migrate
from om_server.storage.sqlite import SqliteStore
from tests.contract.calling import Answer
from tests.contract.estate import Estate, Tenant, estate_on

if TYPE_CHECKING:
    from collections.abc import Iterator

_ACCOUNTS = "om.account.v1.AccountService"
_LINE = {
    "provider": "openai",
    "model": "gpt-4o",
    "usage": {"quantities": [{"unit": "input_tokens", "amount": 1000, "certainty": "CERTAINTY_MEASURED"}]},
}


class Desk(NamedTuple):
    """An owner at work."""

    estate: Estate
    tenant: Tenant
    secret: str

    def ask(self, rpc: str, **request: Any) -> Any:
        return self.answer(f"{_ACCOUNTS}/{rpc}", **request).reply

    def answer(self, path: str, *, secret: str = "", **request: Any) -> Answer:
        return self.estate.caller.call(path, request, secret=secret or self.secret)

    def team(self) -> str:
        return self.tenant.make_team_id()


@pytest.fixture(scope="module", name="desk")
def build_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    database = SqliteStore(tmp_path_factory.mktemp("keys") / "om.db", MODELS)
    migrate(database, incarnation="inc_test", now_us=0)
    with estate_on(database) as estate:
        tenant = Tenant(estate, "shop")
        yield Desk(estate, tenant, tenant.credential(Principal.OWNER))
    database.close()


@pytest.mark.acceptance("B-215", "B-217", "B-219")
def test_a_key_is_made_for_a_team_and_shown_once(desk: Desk) -> None:
    team_id = desk.team()

    made = desk.ask("CreateKey", team_id=team_id, description="Checkout", prefix="apc_")

    assert checksum_ok(made.secret)
    assert len(made.secret) == len("apc_") + 32 + 6
    assert desk.answer(f"{_ACCOUNTS}/GetCaller", secret=made.secret).reply.key_id == made.key.key_id
    [listed] = desk.ask("ListKeys", team_id=team_id).keys
    assert (listed.team_id, listed.description) == (team_id, "Checkout")
    assert listed.masked_secret == f"apc_...{made.secret[-4:]}"
    age = dt.datetime.now(dt.UTC) - listed.create_time.ToDatetime(dt.UTC)
    assert abs(age) < dt.timedelta(minutes=5)
    assert made.secret not in str(desk.ask("ListKeys"))


@pytest.mark.acceptance("B-218", "B-221")
def test_a_revoked_key_stays_in_the_list_and_never_comes_back(desk: Desk) -> None:
    team_id = desk.team()
    active, ended = (desk.ask("CreateKey", team_id=team_id) for _ in range(2))

    revoked = desk.ask("RevokeKey", key_id=ended.key.key_id).key

    states = {key.key_id: key.HasField("revoke_time") for key in desk.ask("ListKeys", team_id=team_id).keys}
    assert states == {active.key.key_id: False, ended.key.key_id: True}
    assert desk.answer(f"{_ACCOUNTS}/GetCaller", secret=ended.secret).reason == "CREDENTIAL_INVALID"
    assert desk.ask("RevokeKey", key_id=ended.key.key_id).key.revoke_time == revoked.revoke_time
    assert desk.answer(f"{_ACCOUNTS}/RotateKey", key_id=ended.key.key_id).reason == "KEY_REVOKED"


@pytest.mark.acceptance("B-222", "B-223", "B-224", "B-226", "B-227")
def test_what_keys_cost_is_their_teams(desk: Desk) -> None:
    teams = [desk.team(), desk.team()]
    keys = [desk.ask("CreateKey", team_id=team_id) for team_id in (teams[0], teams[0], teams[1])]
    for number, key in enumerate(keys):
        events = [{"event_id": f"of-{key.key.key_id}-{one}", "lines": [_LINE]} for one in range(number + 1)]
        path = "om.ingestion.v1.IngestionService/IngestEvents"
        assert desk.answer(path, secret=key.secret, events=events).reply
    while desk.estate.platform.worker.settle_once():
        pass

    counts = {team.team_id: team.key_count for team in desk.ask("ListTeams", page_size=200).teams}
    assert [counts[team_id] for team_id in teams] == [2, 1]
    assert {key.key_id for key in desk.ask("ListKeys", team_id=teams[0]).keys} == {
        keys[0].key.key_id,
        keys[1].key.key_id,
    }
    by_team, by_key = spend(desk, "DIMENSION_TEAM"), spend(desk, "DIMENSION_KEY")
    one = by_key[keys[0].key.key_id]
    assert one > 0
    assert [by_key[key.key.key_id] for key in keys] == [one, 2 * one, 3 * one]
    assert [by_team[team_id] for team_id in teams] == [3 * one, 3 * one]


def spend(desk: Desk, dimension: str) -> dict[str, int]:
    """Return what each team or key cost, in nano-dollars, by its id."""
    path = "om.analytics.v1.AnalyticsService/QuerySpend"
    rows = desk.answer(path, group_by=[dimension]).reply.rows
    return {row.group[0].value: row.cost.amount_nanos for row in rows}


def test_two_teams_never_have_one_name(desk: Desk) -> None:
    made = desk.ask("CreateTeam", display_name="Search").team
    other = desk.ask("CreateTeam", display_name="Find").team

    assert desk.answer(f"{_ACCOUNTS}/CreateTeam", display_name="Search").reason == "ALREADY_EXISTS"
    taken = desk.answer(f"{_ACCOUNTS}/UpdateTeam", team_id=other.team_id, display_name="Search")
    assert taken.reason == "ALREADY_EXISTS"
    assert desk.ask("GetTeam", team_id=other.team_id).team.display_name == "Find"
    assert desk.ask("GetTeam", team_id=made.team_id).team.display_name == "Search"
