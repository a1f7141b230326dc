"""What `doctor` says of a database that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from om_server.cli.command import migrate_database, opened
from om_server.cli.store_check import clock_finding, store_findings
from om_server.settings import load_settings
from om_server.storage.row_security import SERVER_ROLE, WORKER_ROLE
from tests.databases import member_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from om_server.cli.finding import Finding
    from tests.databases import PostgresTemplate

_NOW = 1_700_000_000_000_000


@pytest.fixture
def url(postgres_template: PostgresTemplate) -> Iterator[str]:
    with postgres_template.clone() as found:
        yield found


def found(url: str, environment: str = "production") -> dict[str, Finding]:
    settings = load_settings(OM_DATABASE_URL=url, OM_ENV=environment)
    return {each.check: each for each in store_findings(settings)}


def test_a_superuser_is_a_problem_in_production_alone(url: str) -> None:
    assert found(url)["database role"].remedy.startswith("connect as om_server")
    assert not found(url, "development")["database role"].problem


@pytest.mark.parametrize(
    ("role", "said"), [(SERVER_ROLE, "one organization at a time"), (WORKER_ROLE, "every organization")]
)
def test_a_role_of_our_own_is_told_by_what_it_sees(url: str, role: str, said: str) -> None:
    with member_of(role, url) as login:
        findings = found(login)

    assert not [each for each in findings.values() if each.problem]
    assert said in findings["database role"].text
    assert findings["row-level security"].text == "guards every table of organizations"
    assert findings["clock"].text == "agrees with the database's"
    assert findings["queue in the database"].text == "nothing waits"


def test_a_role_without_rights_and_a_table_without_policy_are_problems(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE wallets DISABLE ROW LEVEL SECURITY")

    assert found(url)["row-level security"].text == "does not guard wallets"


@pytest.mark.parametrize(("ahead_s", "said"), [(5, "5.0 s ahead of"), (-3, "3.0 s behind")])
def test_a_clock_that_differs_is_a_problem(ahead_s: int, said: str) -> None:
    finding = clock_finding(database_time=_NOW, now=_NOW + ahead_s * 1_000_000)

    assert finding.problem
    assert said in finding.text
    assert not clock_finding(database_time=_NOW, now=_NOW + 1_000_000).problem


def test_what_has_waited_for_long_is_a_problem_for_the_servers_role_too(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO inbox VALUES ('org', 'bat', '', 1, 0, 0, 0)")
    with member_of(SERVER_ROLE, url) as login:
        finding = found(login)["queue in the database"]

    assert finding.text.startswith("1 batch waits, since ")
    assert finding.remedy == "start a worker, or see its log"


def test_sqlite_has_no_roles_and_a_running_server_is_left_alone(tmp_path: Path) -> None:
    settings = load_settings(OM_DATA_DIR=tmp_path)
    assert list(store_findings(settings)) == []
    migrate_database(settings)

    assert [each.check for each in store_findings(settings)] == ["queue in the database"]
    with opened(settings):
        assert list(store_findings(settings)) == []
