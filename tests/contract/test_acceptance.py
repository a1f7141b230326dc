"""Every statement of the acceptance list has a test that carries its number, and the page says so."""

from __future__ import annotations

import pytest

from tests.acceptance import ELSEWHERE, PAGE, STATEMENTS, Results, marked_tests, page


def test_every_statement_has_a_test() -> None:
    assert sorted(set(STATEMENTS) - marked_tests().keys() - ELSEWHERE.keys()) == []


@pytest.mark.parametrize("number", sorted(ELSEWHERE))
def test_what_is_proven_elsewhere_is_a_statement_that_is_not_proven_here(number: str) -> None:
    assert number in STATEMENTS
    assert number not in marked_tests()


def test_the_page_shows_every_number_with_its_tests_as_they_passed() -> None:
    passed = {test: "passed" for tests in marked_tests().values() for test in tests}

    # A run of all tests writes it; what it says of a test that failed is not to be committed.
    assert PAGE.read_text(encoding="utf-8") == page(passed), "run every test, and commit what was written"


def test_one_parameter_that_fails_fails_its_test() -> None:
    results = Results()
    results.note("tests/a/test_b.py::test_c[one]", failed=True)
    results.note("tests/a/test_b.py::test_c[two]", failed=False)

    assert results.failed("a/test_b.py::test_c")
    assert not results.failed("a/test_b.py::test_d")
