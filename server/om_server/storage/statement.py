"""Statements whose text is composed once: peewee writes the SQL, and each use only binds values to names.

To compose a statement takes peewee several times as long as a database takes to run it, and the text
is the same each time. A fixed text is also what both databases prepare and keep the plan of. Rows come
as plain tuples in the order of the columns; SQLite's booleans are 0 and 1.
"""

import functools
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson
import peewee

from om_server.storage.database import Database

Value = str | int | bool | None | Collection[str] | Collection[int]
Row = tuple[Any, ...]

#: Texts of one kind that are kept: far more than a program asks for, and a bound for what callers choose.
_SHAPES_MAX = 256

_Shape = TypeVar("_Shape", bound=Hashable)


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where a named value goes in; `many` are bound together, as one."""

    name: str
    many: bool = False


def given(name: str) -> Any:  # noqa: ANN401 - peewee's expressions take anything
    """Stand in a query for the value of that name. It is bound as it is, without a field's conversion."""
    return peewee.Value(_Slot(name), converter=False)


def among(database: Database, field: peewee.Field, name: str) -> Any:  # noqa: ANN401 - as above
    """Return the condition that a column is one of any number of values of that name, or of none."""
    slot = _Slot(name, many=True)
    if database.supports_row_locks:
        return peewee.NodeList((field, peewee.SQL("= ANY(%s)", [slot])))
    return peewee.NodeList((field, peewee.SQL("IN (SELECT value FROM json_each(?))", [slot])))


class Statement:
    """One query of one database. It runs in the transaction, or on the connection, that the caller opened."""

    def __init__(self, database: Database, query: peewee.Node) -> None:
        self._engine = database.engine
        self._arrays = database.supports_row_locks
        self._sql, values = self._engine.get_sql_context().sql(query).query()
        self._slots: list[_Slot | Value] = list(values)
        self._names = {slot.name for slot in self._slots if isinstance(slot, _Slot)}

    def rows(self, **values: Value) -> list[Row]:
        """Return what it selects or returns. The values are exactly those that the query names."""
        found: list[Row] = self._executed(values).fetchall()
        return found

    def row(self, **values: Value) -> Row | None:
        """Return its first row."""
        found: Row | None = self._executed(values).fetchone()
        return found

    def run(self, **values: Value) -> int:
        """Run a write that returns nothing; return how many rows it changed."""
        return int(self._executed(values).rowcount)

    def _executed(self, values: dict[str, Value]) -> Any:  # noqa: ANN401 - a cursor of either driver
        if values.keys() != self._names:
            raise TypeError(f"the statement takes {sorted(self._names)}, not {sorted(values)}")
        bound = [self._bound(slot, values) if isinstance(slot, _Slot) else slot for slot in self._slots]
        return self._engine.execute_sql(self._sql, bound)

    def _bound(self, slot: _Slot, values: dict[str, Value]) -> Any:  # noqa: ANN401 - what the driver takes
        value = values[slot.name]
        if not slot.many:
            return value
        if isinstance(value, str) or not isinstance(value, Collection):
            raise TypeError(f"{slot.name} is a number of values, not one")
        return list(value) if self._arrays else orjson.dumps(list(value)).decode()


class Statements(Generic[_Shape]):
    """Statements that differ by a shape, such as which conditions there are. Each is composed once."""

    def __init__(self, database: Database, compose: Callable[[_Shape], peewee.Node]) -> None:
        self._of = functools.lru_cache(_SHAPES_MAX)(lambda shape: Statement(database, compose(shape)))

    def of(self, shape: _Shape) -> Statement:
        """Return the statement of a shape."""
        return self._of(shape)
