"""The comparison of documents with outputs: what it lets pass, and what not."""

from __future__ import annotations

import pytest

from tests.docs.matching import mismatch


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ('{"a": "..."}', '{"a": [1, 2]}'),
        ('{"a": 1, "...": "..."}', '{"a": 1, "b": 2}'),
        ('[{"a": "..."}, 2]', '[{"a": null}, 2]'),
    ],
)
def test_json_that_is_as_shown_passes(expected: str, found: str) -> None:
    assert mismatch("json", expected, found) == ""


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ('{"a": 1}', '{"a": 2}'),
        ('{"a": 1}', '{"a": 1, "b": 2}'),
        ('{"a": 1, "b": "..."}', '{"a": 1}'),
        ('{"a": 1, "...": "..."}', '{"b": 2}'),
        ('["..."]', "[1, 2]"),
        ('{"a": 1}', "no JSON"),
        ('{"a": "1"}', '{"a": 1}'),
    ],
)
def test_json_that_is_not_as_shown_is_told(expected: str, found: str) -> None:
    assert mismatch("json", expected, found)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ("one\ntwo\n", "one\ntwo"),
        ("a  b", "a     b"),
        ("key_... made", "key_17 made"),
        ("one\n...\nlast", "one\nlast"),
        ("one\n...\nlast", "one\ntwo\nthree\nlast"),
    ],
)
def test_text_that_is_as_shown_passes(expected: str, found: str) -> None:
    assert mismatch("text", expected, found) == ""


@pytest.mark.parametrize(
    ("expected", "found"),
    [("one", "two"), ("one", "one\ntwo"), ("one\n...\nlast", "one\ntwo"), ("key_... made", "key_17 lost")],
)
def test_text_that_is_not_as_shown_is_told(expected: str, found: str) -> None:
    assert mismatch("text", expected, found)
