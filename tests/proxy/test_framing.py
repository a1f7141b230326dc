from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_proxy.framing import JsonArray, WholeBody

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.text(st.sampled_from('a"\\{}[],:\u2028é'), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), max_size=5)


@given(objects=OBJECTS, indented=st.booleans(), size=st.integers(1, 40))
def test_the_objects_of_an_array_come_out_whole(objects: list[object], size: int, *, indented: bool) -> None:
    body = orjson.dumps(objects, option=orjson.OPT_INDENT_2 if indented else 0)
    array = JsonArray()

    found = [item for at in range(0, len(body), size) for item in array.feed(body[at : at + size])]

    assert [orjson.loads(document) for document in found] == objects
    assert array.finish() == []


def test_an_object_alone_counts_as_well() -> None:
    assert JsonArray().feed(b'{"error": {"code": 503}}') == [b'{"error": {"code": 503}}']


def test_braces_that_close_nothing_are_passed_over() -> None:
    assert JsonArray().feed(b'}}] "{" {"a":1}') == [b'{"a":1}']


@pytest.mark.parametrize("size", [1, 5, 1_000])
def test_an_object_over_the_limit_is_given_up_and_the_next_one_read(size: int) -> None:
    body = b'[{"a":"' + b"x" * 100 + b'"},{"b":1}]'
    array = JsonArray(50)

    found = [item for at in range(0, len(body), size) for item in array.feed(body[at : at + size])]

    assert found == [b'{"b":1}']
    assert array.given_up == 1


def test_a_body_comes_out_at_the_end() -> None:
    body = WholeBody()

    assert body.feed(b'{"a":') + body.feed(b"1}") == []
    assert body.finish() == [b'{"a":1}']
    assert WholeBody().finish() == []


def test_a_body_over_the_limit_is_given_up() -> None:
    body = WholeBody(10)
    for _ in range(5):
        body.feed(b"xxxx")

    assert body.finish() == []
    assert body.given_up == 1
