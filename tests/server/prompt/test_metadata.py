import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.errors import InvalidArgument
from om_server.prompt.metadata import BYTES_MAX, TEXT_BYTES_MAX, check_metadata

FIELD = "version.metadata"
SAFE = st.sampled_from(["owner", "hash", "ticket", ""])
SHORT = st.text(alphabet="ab é", max_size=8)


def refused(document: object) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        check_metadata(orjson.dumps(document).decode(), FIELD)
    return caught.value


@given(
    st.dictionaries(
        SAFE, st.recursive(SHORT | st.integers(0, 9) | st.none(), lambda inner: st.lists(inner, max_size=3))
    )
)
def test_short_values_are_taken(document: dict[str, object]) -> None:
    check_metadata(orjson.dumps(document).decode(), FIELD)


LONG = "é" * (TEXT_BYTES_MAX // 2) + "x"


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"note": LONG}, "version.metadata.note"),
        ({"notes": ["short", {"of": LONG}]}, "version.metadata.notes[1].of"),
        ({"": LONG}, "version.metadata."),
        ({LONG: 1}, f"version.metadata.{LONG[:40]}"),
        ({"Prompt": "hi"}, "version.metadata.Prompt"),
        ({"chat": {" messages ": []}}, "version.metadata.chat. messages "),
        ([{"system_prompt": None}], "version.metadata[0].system_prompt"),
    ],
)
def test_what_looks_like_content_is_refused_by_its_place_and_not_repeated(
    document: object, field: str
) -> None:
    error = refused(document)

    assert error.field == field
    assert LONG not in error.message


def test_a_text_may_be_as_long_as_a_hash_or_a_path() -> None:
    check_metadata(orjson.dumps({"hash": LONG[:-1]}).decode(), FIELD)


def test_many_short_texts_are_bounded_too() -> None:
    fits = {f"k{number:04}": "v" * 100 for number in range(BYTES_MAX // 120)}

    check_metadata(orjson.dumps(fits).decode(), FIELD)
    assert refused({**fits, **{f"more{number}": "v" * 100 for number in range(20)}}).field == FIELD
