"""Every invariant and crash point that the documents list is proven by tests that exist."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.docs.snippets import ROOT

if TYPE_CHECKING:
    from pathlib import Path

#: What each page lists, and which numbers wait for the journal of the proxy, where the page says so.
PAGES = {
    "docs/invariants.md": ([f"I{number}" for number in range(1, 33)], frozenset[str]()),
    "docs/crash-safety.md": (
        [f"K{number}" for number in range(1, 31)],
        frozenset[str](),
    ),
}
_WAITING = "with the journal"
_NUMBERED = re.compile(r"^\| *([IK]\d+) *\|(.*)\|$")
_TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")

written = [page for page in PAGES if (ROOT / page).exists()]


def rows_of(page: str) -> list[tuple[str, str]]:
    """Number and rest of every row that begins with one."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    return [(found[1], found[2]) for line in lines if (found := _NUMBERED.match(line))]


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of the tests of a file, without running it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def test_the_invariants_are_written_down() -> None:
    assert "docs/invariants.md" in written


@pytest.mark.parametrize("page", written)
def test_every_number_has_one_row(page: str) -> None:
    numbers, _ = PAGES[page]

    assert Counter(number for number, _ in rows_of(page)) == Counter(numbers)


@pytest.mark.parametrize("page", written)
def test_every_row_names_a_test_or_waits_for_the_journal(page: str) -> None:
    _, may_wait = PAGES[page]
    unproven = {number for number, rest in rows_of(page) if not _TEST.search(rest)}
    waiting = {number for number, rest in rows_of(page) if _WAITING in rest}

    assert unproven <= may_wait
    assert unproven <= waiting


@pytest.mark.parametrize("page", written)
def test_every_test_that_is_named_exists(page: str) -> None:
    named = [(number, *test) for number, rest in rows_of(page) for test in _TEST.findall(rest)]
    missing = [
        f"{number}: {path}::{name}"
        for number, path, name in named
        if not (ROOT / path).is_file() or name not in names_in(ROOT / path)
    ]

    assert missing == []


@pytest.mark.parametrize("page", written)
def test_what_looks_like_a_test_is_read_as_one(page: str) -> None:
    """A name with a typing error must not pass for prose."""
    for number, rest in rows_of(page):
        assert rest.count("::") == len(_TEST.findall(rest)), number
