from typing import Any

import orjson
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from om_server.rest.documented.struct_value import plain_struct

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON))
def test_it_is_what_protobuf_itself_would_write(document: dict[str, Any]) -> None:
    struct = Struct()
    struct.update(document)

    found = plain_struct(struct)

    assert found == json_format.MessageToDict(struct)
    assert orjson.loads(orjson.dumps(found)) == found


def test_whole_numbers_have_no_fraction() -> None:
    struct = Struct()
    struct.update({"count": 3, "share": 0.5, "large": 1e300, "inner": {"list": [1, None]}})

    assert repr(plain_struct(struct)["count"]) == "3"
    assert repr(plain_struct(struct)["share"]) == "0.5"
    assert repr(plain_struct(struct)["large"]) == "1e+300"
    assert repr(plain_struct(struct)["inner"]) == "{'list': [1, None]}"
