"""K28: a migration dies in the middle, and the next one completes it."""

from __future__ import annotations

import random
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.failpoint import Fault

if TYPE_CHECKING:
    from tests.faults.scene import MakeSite
    from tests.faults.site import Site

_SCHEMA = {
    "sqlite": "SELECT type, name, sql FROM sqlite_master ORDER BY type, name",
    "postgresql": (
        "SELECT 'column', table_name || '.' || column_name, data_type || COALESCE(column_default, '') "
        "FROM information_schema.columns WHERE table_schema = 'public' "
        "UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' "
        "UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal "
        "ORDER BY 1, 2, 3"
    ),
}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_migration_that_died_is_completed_by_the_next(make_site: MakeSite, kind: str, seed: int) -> None:
    """At some statement, and when only the commit is missing; from nothing, and from an older version."""
    site = make_site(kind)
    expected = site.rows(_SCHEMA[kind]), applied(site)
    chance = random.Random(seed)
    site.erase()

    for start in ("", "older"):
        if start:
            site.erase()
            assert site.run("migrate", modes=[start]).wait() == 0
        before = tables_of(site, kind)
        for fault in (Fault("migrating", nth=chance.randint(2, 40)), Fault("migrated")):
            assert site.run("migrate", fault=fault).wait() == -signal.SIGKILL
            assert tables_of(site, kind) == before
        assert site.run("migrate").wait() == 0
        assert (site.rows(_SCHEMA[kind]), applied(site)) == expected
        assert site.value("SELECT COUNT(*) FROM incarnations") == 1


def applied(site: Site) -> list[tuple[Any, ...]]:
    return site.rows("SELECT name FROM migrations ORDER BY name")


def tables_of(site: Site, kind: str) -> list[tuple[Any, ...]]:
    return site.rows(_SCHEMA[kind])
