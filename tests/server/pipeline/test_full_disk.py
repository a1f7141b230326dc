"""K21 in one process: the database itself says that its disk is full."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from om_server.core.errors import DependencyUnavailable
from om_server.pipeline.worker import drain
from tests.server.pipeline.harness import CREDIT, INPUT_CHARGE, Tenant, World, rows_of, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from om_server.storage.database import Database

#: As many as need pages that the file does not have yet.
_COUNT = 300
_FULL = """
CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$
"""
_TRIGGER = "CREATE TRIGGER disk_full BEFORE INSERT ON {} EXECUTE FUNCTION disk_full()"


@contextlib.contextmanager
def full_disk(database: Database) -> Iterator[None]:
    """Leave no room for another page, or for another event; SQLite refuses to go below what it has."""

    def run(*statements: str) -> None:
        for sql in statements:
            database.write(lambda sql=sql: database.engine.execute_sql(sql).close())  # type: ignore[misc] # Bound now.

    fill, empty = ["PRAGMA max_page_count = 1"], "PRAGMA max_page_count = 1073741823"
    if database.supports_row_locks:
        fill = [_FULL, _TRIGGER.format("usage_events"), _TRIGGER.format("inbox")]
        empty = "DROP FUNCTION disk_full CASCADE"
    run(*fill)
    try:
        yield
    finally:
        run(empty)


def test_a_full_disk_is_nobodys_attempt_and_leaves_nothing_behind(world: World, tenant: Tenant) -> None:
    events = [world.event(tenant, f"e{number}", lines=(tokens(1),)) for number in range(_COUNT)]
    world.queue(events)
    worker, before = world.worker(), rows_of(world.database)

    with full_disk(world.database):
        for _ in range(3):
            with pytest.raises(DependencyUnavailable):
                worker.settle_once()
        assert rows_of(world.database) == before

    assert drain(worker) == 1
    assert world.money(tenant) == (1_000 * CREDIT - _COUNT * INPUT_CHARGE, 0, 0)
    assert world.ingestion.status(tenant.organization_id).dead_letter_count == 0
    assert world.wallet.verify(tenant.organization_id).first is None


def test_what_a_full_disk_does_not_take_in_is_not_accepted(world: World, tenant: Tenant) -> None:
    """Who reports hears that it may try again, and not that it is queued."""
    batches = [[world.event(tenant, f"e{number}")] for number in range(_COUNT)]

    with full_disk(world.database), pytest.raises(DependencyUnavailable):
        world.queue(*batches)
