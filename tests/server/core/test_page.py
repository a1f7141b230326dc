import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.errors import InvalidArgument, PageTokenInvalid
from om_server.core.page import Arguments, Cursor, PageRequest, decode_token, encode_token

ARGUMENTS: Arguments = {"provider": "openai", "customer_id": "", "at": 17}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
CURSORS = st.lists(TEXTS | st.integers(-(2**63), 2**63), max_size=4).map(tuple)


@pytest.mark.parametrize(("asked", "size"), [(0, 50), (1, 1), (200, 200), (201, 200), (2**31 - 1, 200)])
def test_a_page_size_is_normalised(asked: int, size: int) -> None:
    assert PageRequest.of(asked).size == size


def test_a_list_may_have_a_smaller_maximum() -> None:
    assert PageRequest.of(0, size_max=20).size == 20


@pytest.mark.parametrize(("size", "skip", "field"), [(-1, 0, "page_size"), (0, -1, "skip")])
def test_a_negative_size_or_skip_is_an_error(size: int, skip: int, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        PageRequest.of(size, skip=skip)

    assert caught.value.field == field


@given(CURSORS)
def test_a_token_gives_its_cursor_back_to_the_same_list(cursor: Cursor) -> None:
    assert decode_token(encode_token(cursor, ARGUMENTS), ARGUMENTS) == cursor


def test_the_first_page_has_no_cursor() -> None:
    assert decode_token("", ARGUMENTS) is None


@pytest.mark.parametrize(
    "changed", [{"provider": "google"}, {"customer_id": "acme"}, {"at": 18}, {"tags": ["a"]}]
)
def test_a_token_is_refused_when_another_argument_changed(changed: Arguments) -> None:
    token = encode_token(("evt_1",), ARGUMENTS)

    with pytest.raises(PageTokenInvalid):
        decode_token(token, {**ARGUMENTS, **changed})


def test_an_argument_that_is_empty_and_one_that_is_absent_ask_for_the_same() -> None:
    token = encode_token(("evt_1",), ARGUMENTS)

    assert decode_token(token, {"provider": "openai", "at": 17, "tags": []}) == ("evt_1",)


def _token(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "!!!!",
        "é",
        _token({}),
        _token([]),
        _token(["wrong"]),
        _token(17),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
        "A" * 5000,
        base64.urlsafe_b64encode(b"[" * 1500).decode(),
    ],
)
def test_a_token_that_is_not_ours_is_refused(token: str) -> None:
    with pytest.raises(PageTokenInvalid):
        decode_token(token, ARGUMENTS)


def test_a_cursor_of_other_types_is_refused() -> None:
    padded = encode_token((), ARGUMENTS)
    checksum = json.loads(base64.urlsafe_b64decode(padded + "=" * (-len(padded) % 4)))[0]

    with pytest.raises(PageTokenInvalid):
        decode_token(_token([checksum, {"sql": 1}]), ARGUMENTS)
    with pytest.raises(PageTokenInvalid):
        decode_token(_token([checksum, True]), ARGUMENTS)


@pytest.mark.parametrize("text", ["a\0", "\ud800"])
def test_text_that_no_database_takes_is_in_no_token_of_ours(text: str) -> None:
    with pytest.raises(PageTokenInvalid):
        decode_token(encode_token((1, text), ARGUMENTS), ARGUMENTS)
