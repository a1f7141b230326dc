"""K25 at an edge: what is leased and known goes by the clock that only measures, which never jumps."""

from __future__ import annotations

import ast
from pathlib import Path

import om_proxy

_ROOT = Path(om_proxy.__file__).parent

#: What tells the time of day, which a person or a server may set.
_SET_BY_OTHERS = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow")}

#: Who may ask for it: events say when they were, keys end at a time of the calendar, files of the journal
#: are a day old by their dates, and answers are dated, the simulator's own and those that have no date.
_MAY_ASK = {
    "admission/outcome.py",
    "admission/keys.py",
    "journal/journal.py",
    "providers/sandbox/server.py",
    "upstream/outlet.py",
}


def _asks(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in _SET_BY_OTHERS
        for node in ast.walk(tree)
    )


def _imported_by_name(tree: ast.Module) -> set[str]:
    return {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        for alias in node.names
    }


def test_no_lease_and_nothing_that_is_known_goes_by_the_time_of_day() -> None:
    trees = {
        str(path.relative_to(_ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for path in _ROOT.rglob("*.py")
    }

    assert {name for name, tree in trees.items() if _asks(tree)} == _MAY_ASK
    assert {name for name, tree in trees.items() if _imported_by_name(tree)} == set()


def test_every_clock_of_the_proxy_is_the_one_that_only_measures() -> None:
    """Each part is given a clock by tests; left alone it takes this one."""
    defaults = {
        ast.unparse(default)
        for path in _ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        for name, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        if name.arg == "clock" and default is not None
    }

    assert defaults == {"time.monotonic"}
