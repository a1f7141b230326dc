"""A write of settlement that nobody waits for fails: is it the event's fault, or does it pass by itself?"""

import pytest

from om_server.core.errors import DependencyUnavailable
from om_server.core.page import PageRequest
from om_server.pipeline.worker import drain
from om_server.storage.inbox import Inbox
from tests.server.pipeline.harness import CREDIT, INPUT_CHARGE, Tenant, World

CHARGE = 1_000 * INPUT_CHARGE

_DEADLOCK, _SERIALIZATION, _LOCK_TIMEOUT, _CANCELLED, _SHUTDOWN = "40P01", "40001", "55P03", "57014", "57P01"
_CHECK, _UNIQUE, _FOREIGN_KEY, _OUT_OF_RANGE = "23514", "23505", "23503", "22003"


# SQLite writes at once.
pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


def fail_at(world: World, table: str, *, event_id: str, how: str) -> None:
    """Let the insert of a row of an event do something in the database."""
    trigger = f"""
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN IF NEW.event_id = ''{event_id}'' THEN {how}; END IF; RETURN NEW; END'
    """
    engine = world.database.engine
    world.database.write(lambda: engine.execute_sql(trigger))
    world.database.write(
        lambda: engine.execute_sql(
            f"CREATE TRIGGER fail BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fail()"
        )
    )


def heal(world: World, table: str) -> None:
    world.database.write(lambda: world.database.engine.execute_sql(f"DROP TRIGGER fail ON {table}"))


def letters(world: World, tenant: Tenant) -> list[str]:
    found = world.ingestion.list_dead_letters(tenant.organization_id, PageRequest.of())[0]
    return [letter.event_id for letter in found]


def waiting(world: World) -> list[int]:
    return world.database.read(lambda: [row.attempt_count for row in Inbox.select()])


@pytest.mark.parametrize("table", ["entries", "usage_events", "usage_lines"])
@pytest.mark.parametrize("state", [_DEADLOCK, _SERIALIZATION, _LOCK_TIMEOUT, _CANCELLED, _SHUTDOWN])
def test_what_passes_by_itself_counts_as_no_attempt_and_sets_nothing_aside(
    world: World, tenant: Tenant, table: str, state: str
) -> None:
    fail_at(world, table, event_id="e1", how=f"RAISE EXCEPTION USING ERRCODE = ''{state}''")
    world.queue([world.event(tenant, f"e{number}") for number in range(4)])

    with pytest.raises(DependencyUnavailable):
        drain(world.worker())

    assert letters(world, tenant) == []
    assert waiting(world) == [0]
    assert world.money(tenant)[0] == 1_000 * CREDIT
    heal(world, table)
    drain(world.worker())
    assert world.money(tenant)[0] == 1_000 * CREDIT - 4 * CHARGE


@pytest.mark.parametrize("table", ["entries", "usage_events", "usage_lines"])
def test_a_backend_that_is_killed_in_the_middle_sets_nothing_aside(
    world: World, tenant: Tenant, table: str
) -> None:
    fail_at(world, table, event_id="e1", how="PERFORM pg_terminate_backend(pg_backend_pid())")
    world.queue([world.event(tenant, f"e{number}") for number in range(4)])

    with pytest.raises(DependencyUnavailable):
        drain(world.worker())

    heal(world, table)
    assert letters(world, tenant) == []
    drain(world.worker())
    assert world.money(tenant)[0] == 1_000 * CREDIT - 4 * CHARGE


@pytest.mark.parametrize("table", ["entries", "usage_events", "usage_lines"])
@pytest.mark.parametrize("state", [_CHECK, _UNIQUE, _FOREIGN_KEY, _OUT_OF_RANGE])
def test_what_the_database_refuses_is_set_aside_alone_and_its_neighbours_are_charged(
    world: World, tenant: Tenant, table: str, state: str
) -> None:
    """Other writes follow the refused one in the batch, which the database then does not run."""
    fail_at(world, table, event_id="e1", how=f"RAISE EXCEPTION USING ERRCODE = ''{state}''")
    world.queue([world.event(tenant, f"e{number}") for number in range(4)])

    drain(world.worker())

    assert letters(world, tenant) == ["e1"]
    assert waiting(world) == []
    assert world.money(tenant)[0] == 1_000 * CREDIT - 3 * CHARGE
