"""Whose rows the statements of this thread or task may see, where the database guards its rows.

A context variable carries it, as it carries the caller: the entrances set it (a call, the poller), and
the database sends it with each transaction. Where nobody has said whose, a guarded role sees nothing.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Stands for the rows of everybody. No id looks like it.
EVERYBODY = "*"

#: What the database calls it.
SETTING = "om.organization_id"

_visible: ContextVar[str | None] = ContextVar("visible_organization", default=None)


def visible() -> str | None:
    """Return whose rows may be seen: an organization's, everybody's, or None where nobody has said."""
    return _visible.get()


@contextlib.contextmanager
def seeing(organization_id: str) -> Iterator[None]:
    """See one organization's rows for the block. A transaction that is open already does not change."""
    if organization_id in {"", EVERYBODY}:
        raise ValueError("an organization's id is needed here")
    with _set(organization_id):
        yield


@contextlib.contextmanager
def seeing_everybody() -> Iterator[None]:
    """See the rows of every organization for the block: for who finds the organization, or serves all."""
    with _set(EVERYBODY):
        yield


@contextlib.contextmanager
def _set(value: str) -> Iterator[None]:
    token = _visible.set(value)
    try:
        yield
    finally:
        _visible.reset(token)
