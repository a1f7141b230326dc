"""What a template of PostgreSQL holds, and how a used copy comes back to it for less than a new one costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A copy notes for itself that somebody changed a definition: then only its rows would be as before.
_NOTE_DEFINITIONS = """
CREATE SCHEMA om_test;
CREATE TABLE om_test.definitions_changed (command TEXT);
CREATE FUNCTION om_test.note() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS
  $$ BEGIN INSERT INTO om_test.definitions_changed VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER om_test_note ON ddl_command_end EXECUTE FUNCTION om_test.note();
"""
_DEFINITIONS_CHANGED = "SELECT command FROM om_test.definitions_changed"
# A table has a size since something was written to it, be it deleted again or never committed.
_WRITTEN = """
SELECT relname FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0
"""
_SEQUENCES = """
SELECT quote_ident(sequencename), coalesce(last_value, start_value), last_value IS NOT NULL
FROM pg_sequences WHERE schemaname = 'public'
"""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The rows of the tables that are not empty, as COPY writes them, and where each sequence stands."""

    rows: Mapping[str, bytes]
    sequences: Sequence[tuple[str, int, bool]]

    @classmethod
    def of(cls, url: str) -> Baseline:
        """Read it from a template; its copies note from now on what `restore` has to know."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM")  # Takes its size from a table that is empty again.
            rows = {table: _content(connection, table) for table in _written(connection)}
            sequences = connection.execute(_SEQUENCES).fetchall()
            connection.execute(_NOTE_DEFINITIONS)
        return cls(rows, sequences)

    def restore(self, url: str) -> bool:
        """Bring back a copy to which nobody else is connected; false where that cannot be done."""
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                if connection.execute(_DEFINITIONS_CHANGED).fetchall():
                    return False
                self._restore(connection)
        except psycopg.Error:
            return False
        return True

    def _restore(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("SET session_replication_role = replica")  # No trigger of the platform sees it.
        emptied = [table for table in _written(connection) if table not in self.rows]
        changed = [table for table, rows in self.rows.items() if _content(connection, table) != rows]
        _empty(connection, [*emptied, *changed])
        for table in changed:
            with connection.cursor().copy(_statement("COPY {} FROM STDIN", table)) as copy:
                copy.write(self.rows[table])
        for sequence, value, used in self.sequences:
            connection.execute("SELECT setval(%s, %s, %s)", (sequence, value, used))


def _written(connection: psycopg.Connection[Any]) -> list[str]:
    return [table for (table,) in connection.execute(_WRITTEN).fetchall()]


def _content(connection: psycopg.Connection[Any], table: str) -> bytes:
    with connection.cursor().copy(_statement("COPY {} TO STDOUT", table)) as rows:
        return b"".join(rows)


def _empty(connection: psycopg.Connection[Any], tables: Sequence[str]) -> None:
    """Leave no row, living or dead. TRUNCATE takes four times as long: it makes every file anew."""
    if tables:
        connection.execute(sql.SQL(";").join(_statement("DELETE FROM {}", table) for table in tables))
        connection.execute(_statement("VACUUM {}", *tables))


def _statement(text: str, *tables: str) -> sql.Composed:
    return sql.SQL(text).format(sql.SQL(", ").join(sql.Identifier("public", table) for table in tables))
