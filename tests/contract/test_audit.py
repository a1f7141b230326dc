"""Whoever changes something leaves a record of it: every RPC with side effects, read from the descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from google.protobuf import descriptor_pb2

from om_server.core.ids import hash_key
from om_server.core.page import PageRequest
from om_server.rpc.caller import Principal, Scope
from om_server.rpc.unimplemented import not_implemented
from om_server.schema import MODELS
from om_server.storage.audit import AuditRow
from om_server.storage.migrate import migrate
from om_server.storage.sqlite import SqliteStore
from tests.contract.calling import RPCS
from tests.contract.estate import Estate, Tenant, estate_on
from tests.server.account.people.house import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from om_server.rpc.contract import Rpc

_IDEMPOTENCY = descriptor_pb2.MethodOptions.IdempotencyLevel

#: Events are their own record, in the ledger too.
_ITS_OWN_RECORD = "om.ingestion.v1.IngestionService/IngestEvents"
#: It answers before it does anything, so that nobody learns whether there is an account; see
#: tests/server/account/people/test_password_reset.py.
_LATER = "om.account.v1.AccountService/RequestPasswordReset"
#: What does what others do leaves their records.
_COMPOSED = {
    "RegisterOrganization": {"RegisterOrganization", "CreateOrganization", "CreateKey"},
    "SignUp": {"SignUp", "CreateOrganization"},
    "CompleteOidcSignIn": {"SignUp", "CreateOrganization"},
}

_CANARY = "canary-of-an-end-user"


class Site(NamedTuple):
    """A server with one organization."""

    estate: Estate
    tenant: Tenant


@pytest.fixture(scope="module", name="site")
def build_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    database = SqliteStore(tmp_path_factory.mktemp("audit") / "om.db", MODELS)
    migrate(database, incarnation="inc_test", now_us=0)
    with estate_on(database) as estate:
        yield Site(estate, Tenant(estate, "audited"))
    database.close()


def level(rpc: Rpc) -> int:
    service = rpc.request_type.DESCRIPTOR.file.services_by_name[rpc.service.rpartition(".")[2]]
    return int(service.methods_by_name[rpc.name].GetOptions().idempotency_level)


def writes() -> dict[str, Rpc]:
    """Return what changes something for a caller who is not one of our own processes."""
    found = {path: rpc for path, rpc in RPCS.items() if level(rpc) != _IDEMPOTENCY.NO_SIDE_EFFECTS}
    for path, rpc in list(found.items()):
        if rpc.access.allow == {Principal.SERVICE} or path in (_ITS_OWN_RECORD, _LATER):
            del found[path]
    return found


WRITES = writes()


def records_of(site: Site, request_id: str) -> list[AuditRow]:
    """Return the records of one call, in any organization: sign-up makes one."""
    database = site.estate.platform.database
    return database.read(lambda: list(AuditRow.select().where(AuditRow.request_id == request_id)))


def caller_of(site: Site, rpc: Rpc) -> tuple[str, str]:
    """Return the secret of somebody who may call, and his id, empty for a stranger."""
    if Principal.KEY in rpc.access.allow:
        assert rpc.access.scope is not None
        new = site.tenant.key(rpc.access.scope)
        return new.secret, new.key.key_id
    if Principal.OWNER in rpc.access.allow:
        return site.tenant.credential(Principal.OWNER), site.tenant.owner_id
    return "", ""


def test_there_are_writes() -> None:
    """The other tests here pass on an empty list."""
    assert len(WRITES) > 40


@pytest.mark.parametrize("path", WRITES)
def test_a_write_leaves_a_record_and_its_repeat_none(site: Site, path: str) -> None:
    rpc = WRITES[path]
    if path in not_implemented(type(servicer) for servicer in site.estate.platform.servicers):
        pytest.fail(f"{path} is not written")
    request, (secret, who) = site.tenant.request(path), caller_of(site, rpc)

    answer = site.estate.call(rpc, request, secret)

    assert answer.reason == "", answer.failure
    records = records_of(site, answer.request_id)
    assert records, f"{path} left no record"
    assert {record.action for record in records} == _COMPOSED.get(rpc.name, {rpc.name})
    assert all(record.actor == who if who else record.actor for record in records)
    assert all(record.object_id and record.object_type for record in records)
    if level(rpc) == _IDEMPOTENCY.IDEMPOTENT:
        again = site.estate.call(rpc, request, secret)
        assert records_of(site, again.request_id) == []


def test_a_record_holds_no_secret_and_nothing_of_end_users(site: Site) -> None:
    tenant, service = site.tenant, "om.account.v1.AccountService"
    admin, owner = tenant.key(Scope.ADMIN).secret, tenant.credential(Principal.OWNER)
    hidden = [_CANARY, PASSWORD, admin, owner, tenant.make_secret()]

    def call(path: str, request: dict[str, Any] | None = None) -> Any:
        return site.estate.call(RPCS[path], request or tenant.request(path), admin).reply

    hidden.append(call(f"{service}/CreateKey").secret)
    hidden.append(call(f"{service}/RotateKey").secret)
    hidden += [tenant.make_invite_secret(), tenant.make_reset_secret()]
    user = {"user_id": "end-user", "email": f"{_CANARY}@example.com", "metadata": {"note": _CANARY}}
    call(f"{service}/CreateUser", {"user": user})
    limit = tenant.request("om.wallet.v1.EntitlementService/CreateEntitlement")
    limit["entitlement"]["metadata"] = {"text": _CANARY}
    call("om.wallet.v1.EntitlementService/CreateEntitlement", limit)

    database = site.estate.platform.database
    rows = repr(database.read(lambda: list(AuditRow.select().tuples())))
    assert "end-user" in rows
    assert [secret for secret in hidden if secret in rows] == []
    assert [secret for secret in hidden[2:] if hash_key(secret) in rows] == []


def test_owners_read_the_log_newest_first_page_by_page(site: Site) -> None:
    tenant, path = site.tenant, "om.account.v1.AccountService/ListAuditRecords"
    secret, key = tenant.credential(Principal.OWNER), tenant.key(Scope.ADMIN)
    rename = RPCS["om.account.v1.AccountService/UpdateTeam"]
    requests = [tenant.request(rename.path) for _ in range(3)]
    answers = [site.estate.call(rename, request, key.secret) for request in requests]

    found: list[Any] = []
    token = ""
    for _ in range(3):
        reply = site.estate.caller.call(path, {"page_size": 2, "page_token": token}, secret=secret).reply
        found, token = [*found, *reply.audit_records], reply.next_page_token

    mine = [record for record in found if record.action == "UpdateTeam"]
    assert [record.request_id for record in mine] == [answer.request_id for answer in reversed(answers)]
    newest = mine[0]
    assert (newest.actor, newest.object_type) == (key.key.key_id, "team")
    assert newest.object_id == requests[-1]["team_id"]
    assert newest.before["display_name"].startswith("audited ")
    assert newest.after["display_name"] == requests[-1]["display_name"]
    times = [record.create_time.ToNanoseconds() for record in found]
    assert times == sorted(times, reverse=True)


def test_what_the_program_does_itself_is_the_systems(site: Site) -> None:
    platform = site.estate.platform
    team = platform.account.create_team(site.tenant.organization_id, "Made at the command line")

    records = platform.account.list_audit_records(site.tenant.organization_id, PageRequest.of(1)).items
    assert [(one.actor, one.action, one.object_id) for one in records] == [
        ("system", "CreateTeam", team.team_id)
    ]
