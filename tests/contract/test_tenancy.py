"""Every RPC with every kind of credential: who gets in, and that nobody reaches what is another's.

The matrix is made from the descriptors, so a new RPC is in it; without an example it fails here.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from om_server.core.ids import new_key
from om_server.rpc.caller import Principal, Scope
from om_server.rpc.contract import Rpc
from om_server.rpc.unimplemented import not_implemented
from om_server.schema import MODELS
from om_server.storage.migrate import migrate
from om_server.storage.postgresql import PostgresStore
from om_server.storage.sqlite import SqliteStore
from tests.contract.calling import RPCS
from tests.contract.estate import EXAMPLES, Estate, Tenant, estate_on, identities_of
from tests.databases import postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from om_server.storage.database import Database

_RPCS = pytest.mark.parametrize("rpc", RPCS.values(), ids=RPCS)
_NOBODY = frozenset({Principal.ANONYMOUS})
_INVALID, _DENIED = "CREDENTIAL_INVALID", "ACCESS_DENIED"

#: The tables of organizations.
_TABLES = [model._meta.table_name for model in MODELS if hasattr(model, "organization_id")]

_numbers = itertools.count(1)

#: What an RPC may say of a caller only if it lets nobody like him in.
_REFUSALS = {"CREDENTIAL_MISSING", _INVALID, _DENIED, "SCOPE_MISSING"}


class Site(NamedTuple):
    """A server with some organizations. The stranger takes names that are ours for his own things."""

    estate: Estate
    ours: Tenant
    theirs: Tenant
    stranger: Tenant
    #: What only ours has, among it a charged event.
    marks: tuple[str, ...]


@pytest.fixture(scope="module", name="site")
def build_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    database = SqliteStore(tmp_path_factory.mktemp("tenancy") / "om.db", MODELS)
    migrate(database, incarnation="inc_test", now_us=0)
    with estate_on(database) as estate:
        yield new_site(estate)
    database.close()


def new_site(estate: Estate) -> Site:
    ours = Tenant(estate, "ours")
    marks = ("ours", ours.organization_id, ours.make_team_id(), ours.make_wallet_id(), ours.make_event_id())
    return Site(estate, ours, Tenant(estate, "theirs"), Tenant(estate, "stranger"), marks)


def signed_out(site: Site) -> str:
    """Return the secret of a session that has ended."""
    secret = site.ours.credential(Principal.OWNER)
    assert not site.estate.caller.call("om.account.v1.AccountService/SignOut", {}, secret=secret).reason
    return secret


def credentials(rpc: Rpc) -> list[tuple[Principal, Scope | None]]:
    """Return the callers that the contract lets in, keys with the least that they need."""
    allowed = sorted(rpc.access.allow, key=lambda principal: principal.value)
    return [(principal, rpc.access.scope if principal is Principal.KEY else None) for principal in allowed]


def tenants_caller(rpc: Rpc) -> tuple[Principal, Scope | None] | None:
    """Return one of the callers who belong to an organization; None if only our own processes may call."""
    return next((who for who in credentials(rpc) if who[0] is not Principal.SERVICE), None)


def test_every_rpc_has_an_example() -> None:
    assert set(EXAMPLES) == set(RPCS)


@_RPCS
def test_whom_the_contract_lets_in_gets_an_answer(site: Site, rpc: Rpc) -> None:
    unanswered = not_implemented(type(servicer) for servicer in site.estate.platform.servicers)
    expected = "NOT_IMPLEMENTED" if rpc.path in unanswered else ""
    for principal, scope in credentials(rpc):
        request = site.ours.request(rpc.path)

        answer = site.estate.call(rpc, request, site.ours.credential(principal, scope))

        if principal is Principal.SERVICE:
            # What an application may call too has an application's example.
            assert answer.reason not in _REFUSALS
        else:
            assert answer.reason == expected, answer.failure


@_RPCS
def test_whom_the_contract_does_not_name_is_refused(site: Site, rpc: Rpc) -> None:
    for principal in sorted(set(Principal) - rpc.access.allow, key=lambda one: one.value):
        if principal is Principal.ANONYMOUS or rpc.access.allow == _NOBODY:
            continue

        answer = site.estate.call(rpc, {}, site.ours.credential(principal, Scope.ADMIN))

        assert answer.reason == _DENIED, principal


@_RPCS
def test_a_key_with_another_scope_is_refused(site: Site, rpc: Rpc) -> None:
    if Principal.KEY not in rpc.access.allow or rpc.access.scope is None:
        return
    for scope in Scope:
        answer = site.estate.call(rpc, {}, site.ours.key(scope).secret)

        expected = scope not in (rpc.access.scope, Scope.ADMIN)
        assert (answer.reason == "SCOPE_MISSING") is expected, scope


@_RPCS
def test_a_credential_that_proves_nothing_is_refused(site: Site, rpc: Rpc) -> None:
    """Where anybody may call nobody looks at it: whoever signs in again still sends his old session."""
    ours, accounts = site.ours, site.estate.platform.account
    revoked, expired = ours.new_key(Scope.ADMIN), ours.ended_key(Scope.ADMIN)
    accounts.revoke_key(ours.organization_id, revoked.key.key_id)
    secrets = {
        "revoked": revoked.secret,
        "expired": expired.secret,
        "never made": new_key("om_live_", bytes(range(32))),
        "garbage": "garbage",
        "signed out": signed_out(site),
    }
    for kind, secret in secrets.items():
        reason = site.estate.call(rpc, {}, secret).reason
        assert (reason == _INVALID) is (rpc.access.allow != _NOBODY), kind

    missing = site.estate.call(rpc, {}, "").reason
    assert (missing == "CREDENTIAL_MISSING") is (Principal.ANONYMOUS not in rpc.access.allow)


@pytest.mark.parametrize(
    "path", [path for path in RPCS if identities_of(path) and tenants_caller(RPCS[path])]
)
def test_an_object_of_another_organization_answers_like_one_that_nobody_has(site: Site, path: str) -> None:
    require_unreachable(site, path)


@_RPCS
def test_no_answer_shows_anything_of_another_organization(site: Site, rpc: Rpc) -> None:
    require_hidden(site, rpc)


def test_postgresql_keeps_organizations_apart_too() -> None:
    with postgres_server() as url:
        database = PostgresStore(url, MODELS, pool_size=20)
        migrate(database, incarnation="inc_test", now_us=0)
        with estate_on(database) as estate:
            site = new_site(estate)
            for path, rpc in RPCS.items():
                if identities_of(path) and tenants_caller(rpc):
                    require_unreachable(site, path)
        database.close()


def require_unreachable(site: Site, path: str) -> None:
    """Name each object of ours as a stranger, and compare with what a name says that nobody has."""
    rpc = RPCS[path]
    who = tenants_caller(rpc)
    assert who is not None
    for name in identities_of(path):
        secret = site.stranger.credential(*who)
        real = str(site.ours.make(name))
        made_up = like(real)
        before = rows_of_tenant(site.estate.platform.database, site.ours)

        reached = site.estate.call(rpc, site.stranger.request(path, {name: real}), secret)
        random = site.estate.call(rpc, site.stranger.request(path, {name: made_up}), secret)

        assert told(reached.text(), real) == told(random.text(), made_up)
        assert "ours" not in reached.text().replace(real, "")
        assert rows_of_tenant(site.estate.platform.database, site.ours) == before


def require_hidden(site: Site, rpc: Rpc) -> None:
    """Look for ours in another's answer: lists and sums name no object, so only that tells whose it is."""
    who = tenants_caller(rpc)
    if who is None or EXAMPLES[rpc.path].get("endless"):
        return
    ours = site.ours
    before = rows_of_tenant(site.estate.platform.database, ours)

    text = site.estate.call(rpc, site.theirs.request(rpc.path), site.theirs.credential(*who)).text()

    assert [mark for mark in site.marks if mark in text] == []
    assert rows_of_tenant(site.estate.platform.database, ours) == before


def like(name: str) -> str:
    """Return a name of the same form that nobody has."""
    number = next(_numbers)
    made_up = re.sub(r"(?<=_)[0-9a-z]{26}$", f"{number:026}", name)
    return made_up if made_up != name else f"nobody-{number}"


def told(text: str, name: str) -> str:
    """Return an answer without what it was asked for, and without times and numbers made for the call."""
    return re.sub(r"[0-9]{4}-[0-9-]+T[0-9:.]+Z", "<time>", text.replace(name, "<name>"))


def rows_of_tenant(database: Database, tenant: Tenant) -> dict[str, list[str]]:
    """Return everything that is kept of an organization."""

    mark = "%s" if database.supports_row_locks else "?"

    def rows(table: str) -> list[str]:
        sql = f"SELECT * FROM {table} WHERE organization_id = {mark}"  # noqa: S608 - our own tables
        return sorted(map(repr, database.engine.execute_sql(sql, (tenant.organization_id,)).fetchall()))

    return database.read(lambda: {table: rows(table) for table in _TABLES})
