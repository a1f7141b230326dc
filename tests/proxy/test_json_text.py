from __future__ import annotations

import json
import random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_proxy.json_text import insert_first, last_member, replace, without

NAMES = st.sampled_from(
    ["a", "b", 'quo"te', "back\\slash", "é", "{", "}", ":", ",", "model", "stream_options"]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.text(st.sampled_from('a"\\{}[]:, é\u2028'), max_size=6)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=6)


def written(value: object, source: random.Random) -> str:
    """Write JSON as a client might: with white space anywhere, and escapes where none are needed."""

    def space() -> str:
        return source.choice(["", "", " ", "\n", "\t \r\n"])

    if isinstance(value, dict):
        members = [
            f"{space()}{written(name, source)}{space()}:{space()}{written(inner, source)}{space()}"
            for name, inner in value.items()
        ]
        return "{" + (",".join(members) or space()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(space() + written(item, source) + space() for item in value) + "]"
    if isinstance(value, str) and source.random() < 0.3:
        return '"' + "".join(f"\\u{ord(letter):04x}" for letter in value) + '"'
    return json.dumps(value, ensure_ascii=source.random() < 0.5)


@given(document=OBJECTS, name=NAMES, seed=st.integers(0, 1_000))
def test_a_member_is_found_where_its_value_stands(document: dict[str, object], name: str, seed: int) -> None:
    text = (" " + written(document, random.Random(seed))).encode()
    member = last_member(text, name)

    if name not in document:
        assert member is None
    else:
        assert member is not None
        assert json.loads(text[member.start : member.end]) == document[name]
        assert text[member.start : member.end].strip() == text[member.start : member.end]


@given(document=OBJECTS, seed=st.integers(0, 1_000))
def test_an_inserted_member_leaves_every_other_byte(document: dict[str, object], seed: int) -> None:
    text = written(document, random.Random(seed)).encode()
    edited = insert_first(text, b'"new":1')

    assert json.loads(edited) == {"new": 1, **document}
    added = b'"new":1,' if document else b'"new":1'
    assert edited.replace(added, b"", 1) == text


def test_of_several_members_with_a_name_the_last_is_given() -> None:
    text = b'{"a":1,"b":{"a":2},"a":3,"c":"\\"a\\":4"}'
    member = last_member(text, "a")

    assert member is not None
    assert text[member.start : member.end] == b"3"
    assert replace(text, member, value=b"null") == b'{"a":1,"b":{"a":2},"a":null,"c":"\\"a\\":4"}'


def test_a_member_of_an_inner_object_is_found_from_its_start() -> None:
    text = b'{"x":{"a":{"a":1}},"a":2}'
    outer = last_member(text, "x")
    assert outer is not None
    inner = last_member(text, "a", start=outer.start)

    assert inner is not None
    assert orjson.loads(text[inner.start : inner.end]) == {"a": 1}


@given(document=OBJECTS, name=NAMES, seed=st.integers(0, 1_000))
def test_what_is_taken_out_is_the_member_and_one_comma(
    document: dict[str, object], name: str, seed: int
) -> None:
    text = (" " + written(document, random.Random(seed)) + "\n").encode()
    rest = without(text, name)

    assert json.loads(rest) == {key: value for key, value in document.items() if key != name}
    if name not in document:
        assert rest == text
    else:
        assert _is_cut_from(rest, text)


def _is_cut_from(rest: bytes, text: bytes) -> bool:
    remaining = iter(text)
    return all(byte in remaining for byte in rest)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (b'{"x": 1, "a": 2}', b'{ "a": 2}'),
        (b'{"a": 2, "x": 1 }', b'{"a": 2  }'),
        (b'{"a":2 ,"x":{"x":[1,{"x":2}]},"b":{"x":3}}', b'{"a":2 ,"b":{"x":3}}'),
        (b'{ "x" : null }', b"{  }"),
        (b'{"x":1,"x":2}', b"{}"),
        (b'{"x":1,"a":2,"x":3,"x":4}', b'{"a":2}'),
        (b'{"\\u0078":1,"a":"\\"x\\":1"}', b'{"a":"\\"x\\":1"}'),
        (b'{"a":"x","b":["x",{"x":1}]}', b'{"a":"x","b":["x",{"x":1}]}'),
        (b'{"a":1e5,"A":1.0,"a":2,"x":[]}', b'{"a":1e5,"A":1.0,"a":2}'),
        (b"{}", b"{}"),
    ],
)
def test_every_other_byte_stays_where_it_was(text: bytes, rest: bytes) -> None:
    assert without(text, "x") == rest
