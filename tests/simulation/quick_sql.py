"""Writes the simulation's SQL without peewee's detours: building the text is most of what a seed costs.

What is not recognised is written by peewee itself. A test compares both texts for a whole seed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import peewee

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Peewee has no types for what it keeps to itself.
_Writer = Callable[..., Any]

_field_sql: _Writer = peewee.Field.__sql__
_expression_sql: _Writer = peewee.Expression.__sql__
_selection_sql: _Writer = peewee.ModelSelect.__sql_selection__
_PLAIN = (str, int)


@contextmanager
def quick_sql() -> Iterator[None]:
    """Write the same text as peewee does, for as long as this is open."""
    _write_with(1)
    try:
        yield
    finally:
        _write_with(0)


@contextmanager
def peewees_sql() -> Iterator[None]:
    """Let peewee write, inside of `quick_sql`."""
    _write_with(0)
    try:
        yield
    finally:
        _write_with(1)


def _write_with(choice: int) -> None:
    for owner, name, writers in _WRITERS:
        setattr(owner, name, writers[choice])


def _name(field: Any, ctx: Any) -> str:
    if ctx.state.scope == peewee.SCOPE_VALUES:
        return f'"{field.column_name}"'
    table = field.model._meta.table
    aliases = ctx.alias_manager._mapping[ctx.alias_manager._current_index - 1]
    alias = table._alias or aliases.get(table)
    if alias is None or table._alias:
        alias = _alias(table, ctx)
    return f'"{alias}"."{field.column_name}"'


def _alias(table: Any, ctx: Any) -> str:
    if table._alias:
        ctx.alias_manager[table] = table._alias
    alias: str = ctx.alias_manager[table]
    return alias


def _field(self: Any, ctx: Any) -> Any:
    ctx._sql.append(_name(self, ctx))
    return ctx


def _selection(self: Any, ctx: Any, is_subquery: bool = False) -> Any:  # noqa: FBT001, FBT002
    returning = self._returning
    if is_subquery or not all(type(node).__sql__ is _field for node in returning):
        return _selection_sql(self, ctx, is_subquery)
    ctx._sql.append(", ".join([_name(node, ctx) for node in returning]))
    return ctx


def _expression(self: Any, ctx: Any) -> Any:
    """Write a comparison of a column with a value, or what joins two expressions."""
    left, right = self.lhs, self.rhs
    if isinstance(left, peewee.Field) and getattr(left, "_coerce", True) and isinstance(right, _PLAIN):
        _open(self, ctx)
        ctx._sql.append(f"{_name(left, ctx)} {_operator(self, ctx)} {ctx.state.param or '?'}")
        ctx._values.append(left.db_value(right))
    elif isinstance(left, peewee.Expression) and isinstance(right, peewee.Expression):
        _open(self, ctx)
        left.__sql__(ctx)
        ctx._sql.append(f" {_operator(self, ctx)} ")
        right.__sql__(ctx)
    else:
        return _expression_sql(self, ctx)
    if not self.flat:
        ctx._sql.append(")")
    return ctx


def _open(expression: Any, ctx: Any) -> None:
    if not expression.flat:
        ctx._sql.append("(")


def _operator(expression: Any, ctx: Any) -> Any:
    operations = ctx.state.operations
    return operations.get(expression.op, expression.op) if operations else expression.op


#: Where each is kept, by what name, and the text's writers: peewee's own, and ours.
_WRITERS: tuple[tuple[type, str, tuple[_Writer, _Writer]], ...] = (
    (peewee.Field, "__sql__", (_field_sql, _field)),
    (peewee.Expression, "__sql__", (_expression_sql, _expression)),
    (peewee.ModelSelect, "__sql_selection__", (_selection_sql, _selection)),
)
