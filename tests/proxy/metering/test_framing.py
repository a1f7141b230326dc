from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_proxy.metering.framing import STRING_MAX, JsonArray, JsonLines, NoDocuments, SlimBody, WholeBody

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


@given(value=st.dictionaries(st.text(max_size=3), VALUES, max_size=4), size=st.integers(1, 40))
def test_a_slim_body_keeps_what_is_short(value: object, size: int) -> None:
    body = orjson.dumps(value)
    slim = SlimBody()
    for at in range(0, len(body), size):
        assert slim.feed(body[at : at + size]) == []

    assert [orjson.loads(document) for document in slim.finish()] == [value]


@pytest.mark.parametrize("size", [1, 7, 1_000, 100_000])
@pytest.mark.parametrize("option", [0, orjson.OPT_INDENT_2])
def test_a_slim_body_loses_images_and_vectors_and_nothing_that_is_counted(size: int, option: int) -> None:
    picture = "aGVsbG8" * STRING_MAX + '\\"usage":{'
    body = orjson.dumps(
        {
            "data": [{"b64_json": picture}, {"embedding": [0.25, -1e-05, 3] * 500}],
            "model": "m",
            "usage": {"prompt_tokens": 9, "details": [1, 2]},
        },
        option=option,
    )
    slim = SlimBody(limit=100_000 if size < 1_000 else 5_000)
    for at in range(0, len(body), size):
        slim.feed(body[at : at + size])

    [document] = slim.finish()
    read = orjson.loads(document)
    assert read["data"][0] == {"b64_json": ""}
    assert read["model"] == "m"
    assert read["usage"] == {"prompt_tokens": 9, "details": [1, 2]}
    assert slim.given_up == 0


def test_a_slim_body_that_is_still_too_large_is_given_up() -> None:
    slim = SlimBody(limit=100)
    slim.feed(b'{"a":' + b"[[],[]]," * 100)

    assert (slim.given_up, slim.finish()) == (1, [])


def test_sound_is_no_document() -> None:
    sound = NoDocuments()

    assert (sound.feed(b'{"usage":{}}'), sound.finish(), sound.given_up) == ([], [], 0)


@given(
    lines=st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), max_size=5),
    end=st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    size=st.integers(1, 40),
    closed=st.booleans(),
)
def test_lines_come_out_one_by_one(lines: list[object], end: bytes, size: int, *, closed: bool) -> None:
    body = end.join(map(orjson.dumps, lines)) + (end if closed else b"")
    framing = JsonLines()

    found = [line for at in range(0, len(body), size) for line in framing.feed(body[at : at + size])]

    assert [orjson.loads(line) for line in (*found, *framing.finish())] == lines
    assert framing.given_up == 0


@pytest.mark.parametrize("size", [1, 5, 1_000])
def test_a_line_over_the_limit_is_given_up_and_the_next_one_read(size: int) -> None:
    body = b'{"a":1}\n{"b":"' + b"x" * 50 + b'"}\n{"c":3}'
    framing = JsonLines(limit=20)

    found = [line for at in range(0, len(body), size) for line in framing.feed(body[at : at + size])]

    assert [*found, *framing.finish()] == [b'{"a":1}', b'{"c":3}']
    assert framing.given_up == 1
