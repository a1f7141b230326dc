"""Whatever decides about money without I/O is measured by `make coverage`; no new rule is forgotten."""

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "server"
SLICES = ("om_server.rating.", "om_server.wallet.")
#: What does I/O, or speaks to somebody who does.
OUTSIDE = {"grpc", "om", "om_server.rpc", "om_server.storage", "peewee"}
#: Not pure, and still nothing but decisions: they put the rules of several slices together.
SETTLEMENT = {
    "om_server.pipeline.event_charging",
    "om_server.pipeline.rated_event",
    "om_server.pipeline.settle",
}


def _file_of(module: str) -> Path | None:
    stem = SERVER.joinpath(*module.split("."))
    found = (path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.exists())
    return next(found, None)


@cache
def _imports(module: str) -> frozenset[str]:
    """Every module that one names, for types as well."""
    found: set[str] = set()
    path = _file_of(module)
    if path is None:
        return frozenset()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


def _reached(module: str) -> set[str]:
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        for name in _imports(waiting.pop()) - reached:
            reached.add(name)
            waiting.append(name)
    return reached


def _parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _does_no_io(module: str) -> bool:
    return not any(OUTSIDE.intersection(_parents(name)) for name in _reached(module))


def _modules() -> Iterator[str]:
    for path in SERVER.rglob("*.py"):
        module = ".".join(path.relative_to(SERVER).with_suffix("").parts)
        if module.startswith(SLICES) and path.name != "__init__.py":
            yield module


def test_the_rules_of_rating_and_wallet_and_the_settlement_are_measured_and_nothing_else() -> None:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]
    measured = configuration["run"]["include"]

    rules = {module for module in _modules() if _does_no_io(module)} | SETTLEMENT

    assert "om_server.wallet.ledger" in rules
    assert "om_server.wallet.store" not in rules
    assert measured == sorted("server/" + module.replace(".", "/") + ".py" for module in rules)


def test_a_gap_fails_and_branches_count() -> None:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]

    assert configuration["run"]["branch"] is True
    assert configuration["report"]["fail_under"] == 100
