"""The audit log on both databases."""

import itertools

import peewee
import pytest

from om_server.core.audit import Actor, AuditEntry
from om_server.core.ids import IdSource
from om_server.storage.audit import AuditRecord, AuditTrail
from om_server.storage.database import Database

ORGANIZATION = "org_1"
ENTRY = AuditEntry("CreateTeam", "team", "team_1", after={"display_name": "Hats"})


class Clock:
    """A second passes with each look."""

    def __init__(self) -> None:
        self._seconds = itertools.count(1)

    def __call__(self) -> int:
        return next(self._seconds) * 1_000_000


@pytest.fixture(name="trail")
def make_trail(database: Database) -> AuditTrail:
    ids = IdSource(lambda: 1, bytes)
    return AuditTrail(database, ids=ids, clock=Clock(), actor=lambda: Actor("key_1", "req_1"))


def write(database: Database, trail: AuditTrail, *entries: AuditEntry) -> None:
    def run() -> None:
        for entry in entries:
            trail.record(ORGANIZATION, entry)

    database.write(run)


def test_a_record_says_who_what_before_and_after(database: Database, trail: AuditTrail) -> None:
    renamed = AuditEntry(
        "UpdateTeam", "team", "team_1", before={"display_name": "Hats"}, after={"display_name": "Caps"}
    )
    write(database, trail, ENTRY, renamed)

    newest, first = trail.newest(ORGANIZATION, before=None, limit=5)
    assert first == AuditRecord(
        audit_record_id=first.audit_record_id,
        actor="key_1",
        action="CreateTeam",
        object_type="team",
        object_id="team_1",
        before=None,
        after='{"display_name":"Hats"}',
        request_id="req_1",
        create_time=1_000_000,
    )
    assert (newest.before, newest.after) == ('{"display_name":"Hats"}', '{"display_name":"Caps"}')


def test_what_changed_nothing_leaves_nothing(database: Database, trail: AuditTrail) -> None:
    same = AuditEntry("UpdateTeam", "team", "t", before={"display_name": "x"}, after={"display_name": "x"})

    write(database, trail, same)

    assert trail.newest(ORGANIZATION, before=None, limit=5) == []


def test_an_undone_write_leaves_no_record(database: Database, trail: AuditTrail) -> None:
    def fail() -> None:
        trail.record(ORGANIZATION, ENTRY)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write(fail)

    assert trail.newest(ORGANIZATION, before=None, limit=5) == []


def test_a_record_outside_of_its_write_is_a_defect(trail: AuditTrail) -> None:
    with pytest.raises(RuntimeError, match="CreateTeam"):
        trail.record(ORGANIZATION, ENTRY)


def test_somebody_else_may_be_named_as_the_actor(database: Database, trail: AuditTrail) -> None:
    database.write(lambda: trail.record(ORGANIZATION, ENTRY, actor=Actor("mem_1", "req_2")))

    [found] = trail.newest(ORGANIZATION, before=None, limit=5)
    assert (found.actor, found.request_id) == ("mem_1", "req_2")


@pytest.mark.parametrize("statement", ["UPDATE audit_records SET actor = 'me'", "DELETE FROM audit_records"])
def test_the_database_refuses_to_change_records(
    database: Database, trail: AuditTrail, statement: str
) -> None:
    write(database, trail, ENTRY)

    with pytest.raises(peewee.DatabaseError, match="never changed"):
        database.write(lambda: database.engine.execute_sql(statement))

    [found] = trail.newest(ORGANIZATION, before=None, limit=5)
    assert found.actor == "key_1"


def test_the_log_is_read_from_the_newest_on(database: Database, trail: AuditTrail) -> None:
    names = [f"team_{number}" for number in range(5)]
    write(database, trail, *(AuditEntry("CreateTeam", "team", name, after={}) for name in names))

    seen: list[AuditRecord] = []
    while page := trail.newest(
        ORGANIZATION, before=(seen[-1].create_time, seen[-1].audit_record_id) if seen else None, limit=2
    ):
        seen += page

    assert [record.object_id for record in seen] == names[::-1]


def test_organizations_have_logs_of_their_own(database: Database, trail: AuditTrail) -> None:
    write(database, trail, ENTRY)

    assert trail.newest("org_2", before=None, limit=5) == []
