"""The statements of the acceptance list, the tests that carry their numbers, and the page that shows both.

Every run of all these tests writes docs/acceptance.md anew, with the result of each.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "acceptance.md"
#: The name under which a test's report carries its numbers, also from another process.
PROPERTY = "acceptance"
_NUMBER = re.compile(r"B-\d{3}")

#: Proxy; metering, rating and services; the second proxy, privacy and aggregations; prompts, keys, people.
_RANGES = (range(1, 49), range(88, 122), range(128, 182), range(201, 232))
STATEMENTS = tuple(f"B-{number:03}" for numbers in _RANGES for number in numbers)

#: Statements of these ranges that no test of this repository proves yet, and what they are about.
ELSEWHERE: Mapping[str, str] = {
    "B-020": "where a company puts its own instance",
    "B-025": "the dashboard",
    "B-047": "what an SDK of ours does",
    "B-048": "what an SDK of ours does",
    "B-102": "a time, which `make bench` measures and no test asserts",
    "B-117": "a template at a hosting company",
    **dict.fromkeys(("B-210", "B-211", "B-212", "B-213", "B-214"), "the dashboard"),
    **dict.fromkeys(("B-216", "B-220"), "the dashboard"),
}

_HEAD = """# Acceptance

The numbered statements of the acceptance list, the tests that carry the number of each
(`@pytest.mark.acceptance`), and what they said. Written by the test run whenever all of these tests have run.

| number | test | result |
| --- | --- | --- |
"""


def marked_tests() -> dict[str, list[str]]:
    """Find the tests of every number, as `path::name` from the folder of the tests."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.acceptance" in text:
            for number, name in _marks(path, ast.parse(text)):
                found[number].append(f"{path.relative_to(TESTS)}::{name}")
    return found


def page(results: Mapping[str, str]) -> str:
    """Write the page; `results` has a word for each test."""
    proven = marked_tests()
    return _HEAD + "".join(
        f"| {number} | {test} | {result} |\n"
        for number in STATEMENTS
        for test, result in _rows(number, proven.get(number, ()), results)
    )


class Results:
    """What the tests that carry numbers said in one run, whatever process they ran in."""

    def __init__(self) -> None:
        self._failed: dict[str, bool] = {}

    def note(self, node_id: str, *, failed: bool) -> None:
        """Note a phase of a test; one of several parameters that fails, fails it."""
        test = node_id.partition("[")[0].removeprefix("tests/")
        self._failed[test] = self._failed.get(test, False) or failed

    def failed(self, test: str) -> bool:
        """Tell whether a test, or one of its parameters, has failed."""
        return self._failed.get(test, False)

    def write(self) -> None:
        """Write the page if every test that carries a number has run."""
        wanted = {test for tests in marked_tests().values() for test in tests}
        if wanted <= self._failed.keys():
            words = {test: "failed" if self.failed(test) else "passed" for test in wanted}
            PAGE.write_text(page(words), encoding="utf-8")


def _marks(path: Path, tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.acceptance":
                for argument in mark.args:
                    number = argument.value if isinstance(argument, ast.Constant) else None
                    assert isinstance(number, str), f"{path}: {node.name}"
                    assert _NUMBER.fullmatch(number), f"{path}: {node.name}"
                    yield number, node.name


def _rows(number: str, tests: Iterable[str], results: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if number in ELSEWHERE:
        yield f"not in this repository yet: {ELSEWHERE[number]}", "-"
    for test in tests:
        yield f"[{test}](../tests/{test.partition('::')[0]})", results.get(test, "not run")
