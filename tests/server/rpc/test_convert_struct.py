import json
import math

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.errors import InvalidArgument
from om_server.rpc.convert_struct import struct_from_proto, struct_to_proto

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
scalars = st.none() | st.booleans() | text | st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300)
documents = st.dictionaries(
    text, st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=8)
)


@given(documents)
def test_a_struct_says_in_text_what_its_json_says(document: dict[str, object]) -> None:
    struct = json_format.ParseDict(document, Struct())

    assert json.loads(struct_from_proto(struct, "metadata")) == json_format.MessageToDict(struct)


@given(documents)
def test_text_comes_back_as_it_went(document: dict[str, object]) -> None:
    text = struct_from_proto(json_format.ParseDict(document, Struct()), "metadata")

    assert struct_from_proto(struct_to_proto(text), "metadata") == text


def test_equal_structs_have_equal_text() -> None:
    one, other = Struct(), Struct()
    one.update({"a": 1, "b": {"y": 1, "x": 2}})
    other.update({"b": {"x": 2, "y": 1}, "a": 1})

    assert struct_from_proto(one, "m") == struct_from_proto(other, "m") == '{"a":1,"b":{"x":2,"y":1}}'


def test_nothing_is_an_empty_object() -> None:
    assert struct_from_proto(Struct(), "metadata") == "{}"


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_what_json_has_no_number_for_is_refused(number: float) -> None:
    struct = Struct(fields={"a": Value(number_value=number)})

    with pytest.raises(InvalidArgument) as raised:
        struct_from_proto(struct, "metadata")

    assert raised.value.field == "metadata"


def test_a_value_without_a_kind_is_null() -> None:
    assert struct_from_proto(Struct(fields={"a": Value()}), "metadata") == '{"a":null}'
