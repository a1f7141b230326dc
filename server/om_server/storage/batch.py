"""Writes of many rows in one statement, where peewee's own would take most of a transaction's time.

PostgreSQL gets the rows as one JSON document, in half the time of executemany; COPY would be faster
yet, and is refused on tables with row-level security. SQLite gets executemany. Rows are written, and
so locked, in the order given: who sorts them by key never deadlocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
import peewee

from om_server.core.errors import Code, DomainError
from om_server.storage.database import Database, Record, uncounted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.storage.database import Counted

Row: TypeAlias = tuple[str | int | bool | None, ...]

_TRANSLATED = (peewee.OperationalError, peewee.InterfaceError, peewee.IntegrityError, peewee.DataError)
_TYPES = {"TEXT": "text", "BIGINT": "bigint", "INT": "integer", "BOOL": "boolean"}


class RowsContended(DomainError):
    """Somebody changed rows that this transaction had locked. It writes nothing; a retry is safe."""

    code = Code.UNAVAILABLE
    reason = "DEPENDENCY_UNAVAILABLE"

    def __init__(self, table: str) -> None:
        super().__init__(f"{table} changed meanwhile; retry")


class BatchWriter:
    """Inserts and updates rows of a model inside the caller's transaction.

    Nobody waits for an insert or an update on PostgreSQL: what is wrong with it is raised later in the
    transaction, as `Database.send` says.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, model: type[Record], rows: Sequence[Row], *, on_conflict: str = "") -> None:
        """Insert rows that have every column of the model, in its order.

        `on_conflict` ends the statement; to update, the keys of `rows` must differ from one another.
        """
        meta = model._meta  # noqa: SLF001 - peewee's documented way to a model's columns
        columns: list[str] = meta.sorted_field_names
        head = f"INSERT INTO {meta.table_name} ({', '.join(columns)})"
        if self._database.supports_row_locks:
            self._run(f"{head} SELECT * FROM {_recordset(model, columns)} {on_conflict}", rows)  # noqa: S608 - as below
        else:
            self._run(f"{head} VALUES ({', '.join('?' * len(columns))}) {on_conflict}", rows)

    def insert_new(
        self, model: type[Record], rows: Sequence[Row], *, returning: Sequence[str]
    ) -> list[tuple[Any, ...]]:
        """Insert the rows whose key is free, and give these columns of them."""
        if not rows:
            return []
        meta = model._meta  # noqa: SLF001 - as above
        columns: list[str] = meta.sorted_field_names
        if self._database.supports_row_locks:
            document, values, source = _document(rows), "*", _recordset(model, columns)
        else:
            document = orjson.dumps(rows)
            values = ", ".join(f"json_extract(value, '$[{index}]')" for index in range(len(columns)))
            source = "json_each(?)"
        # Without a WHERE, SQLite would read ON as the start of a join's condition.
        sql = (
            f"INSERT INTO {meta.table_name} ({', '.join(columns)}) SELECT {values} FROM {source} "  # noqa: S608 - names of our own columns
            f"WHERE true ON CONFLICT DO NOTHING RETURNING {', '.join(returning)}"
        )
        found: list[tuple[Any, ...]] = self._database.engine.execute_sql(sql, (document.decode(),)).fetchall()
        return found

    def update(
        self, model: type[Record], columns: Sequence[str], *, rows: Sequence[Row], guard: str = ""
    ) -> None:
        """Set columns of the rows with these primary keys, all of them or RowsContended.

        Each of `rows` has the new values and then the key's. With a `guard` it also ends in what
        that column must hold before.
        """
        meta = model._meta  # noqa: SLF001 - as above
        conditions = [field.name for field in meta.get_primary_keys()] + ([guard] if guard else [])
        if self._database.supports_row_locks:
            settings = ", ".join(f"{name} = c{index}" for index, name in enumerate(columns))
            matches = [f"t.{name} = c{index}" for index, name in enumerate(conditions, start=len(columns))]
            source = f" FROM {_recordset(model, [*columns, *conditions])}"
        else:
            settings = ", ".join(f"{name} = ?" for name in columns)
            matches = [f"{name} = ?" for name in conditions]
            source = ""
        sql = f"UPDATE {meta.table_name} AS t SET {settings}{source} WHERE {' AND '.join(matches)}"  # noqa: S608 - names of our own columns

        def require_all(changed: int) -> None:
            if changed != len(rows):
                raise RowsContended(meta.table_name)

        self._run(sql, rows, counted=require_all)

    def _run(self, sql: str, rows: Sequence[Row], *, counted: Counted = uncounted) -> None:
        if not rows:
            return
        if self._database.supports_row_locks:
            self._database.send(sql, (_document(rows).decode(),), counted=counted)
            return
        # Past peewee's own execute, a full disk would not be seen as the database's failure.
        with peewee.ExceptionWrapper({error.__name__: error for error in _TRANSLATED}):
            counted(int(self._database.engine.cursor().executemany(sql, rows).rowcount))


def _document(rows: Sequence[Row]) -> bytes:
    names = [f"c{index}" for index in range(len(rows[0]))]
    return orjson.dumps([dict(zip(names, row, strict=True)) for row in rows])


def _recordset(model: type[Record], columns: Sequence[str]) -> str:
    """Name the document's columns c0, c1 and so on, with the types of the model's columns."""
    fields = model._meta.fields  # noqa: SLF001 - as above
    types = ", ".join(f"c{index} {_TYPES[fields[name].field_type]}" for index, name in enumerate(columns))
    return f"json_to_recordset(%s::json) AS v ({types})"
