"""Every statement of the acceptance list about the proxy is proven by a test that carries its number."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
NUMBER = re.compile(r"B-\d{3}")

#: Statements of these ranges that are not about the proxy, and what they are about.
ELSEWHERE = {
    "B-020": "where a company puts its own instance",
    "B-025": "the dashboard",
    "B-047": "what an SDK of ours does",
    "B-048": "what an SDK of ours does",
    "B-158": "prompts of which the server keeps a list",
    "B-159": "prompts of which the server keeps a list",
}
STATEMENTS = {f"B-{number:03}" for number in (*range(1, 49), *range(128, 173))}


def _marks(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """Find every acceptance mark, with the name of the test that it is on."""
    return [
        (node.name, mark)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for mark in node.decorator_list
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.acceptance"
    ]


def _proven() -> dict[str, list[str]]:
    """Give the tests of every number."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.acceptance" not in text:
            continue
        for name, mark in _marks(ast.parse(text)):
            for argument in mark.args:
                assert isinstance(argument, ast.Constant), f"{path}: {name}"
                assert NUMBER.fullmatch(str(argument.value)), f"{path}: {name}"
                found[str(argument.value)].append(f"{path.relative_to(TESTS)}::{name}")
    return found


def test_every_statement_about_the_proxy_has_a_test() -> None:
    assert sorted(STATEMENTS - _proven().keys() - ELSEWHERE.keys()) == []


@pytest.mark.parametrize("number", sorted(ELSEWHERE))
def test_what_is_proven_elsewhere_is_a_statement_that_is_not_proven_here(number: str) -> None:
    assert number in STATEMENTS
    assert number not in _proven()
