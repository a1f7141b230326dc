"""The rules of people."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.account.people.member import LastOwner, check_leaves_owner, masked_email, normal_email
from om_server.core.errors import InvalidArgument

LOCALS = st.text(
    st.characters(exclude_categories=("C", "Z"), exclude_characters='@"(),:;<>[\\]'), min_size=1, max_size=40
)
SPACES = st.text(" \t\n", max_size=3)


@given(LOCALS, SPACES, SPACES)
def test_an_address_has_one_normal_form_however_it_is_typed(local: str, before: str, after: str) -> None:
    email = normal_email(f"{local}@example.com")

    assert normal_email(email) == email
    assert normal_email(f"{before}{local}@Example.COM{after}") == email
    assert normal_email(unicodedata.normalize("NFD", f"{local}@example.com")) == email


def test_case_is_no_difference() -> None:
    assert normal_email(" Ada.Lovelace@Example.com ") == "ada.lovelace@example.com"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ada",
        "@example.com",
        "ada@",
        "a da@example.com",
        "ada@example.com\nBcc: eve@example.com",
        # In the header of a mail each of these names somebody else too.
        "ada@example.com,eve@example.net",
        "ada@example.com;eve@example.net",
        "ada<eve@example.net>",
        "eve@example.net(ada@example.com",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        normal_email(text)

    assert raised.value.field == "email"


def test_an_address_has_at_most_254_characters() -> None:
    longest = "a" * (254 - len("@example.com")) + "@example.com"

    assert normal_email(longest) == longest
    with pytest.raises(InvalidArgument):
        normal_email("a" + longest)


def test_a_log_shows_one_character_of_who_it_is() -> None:
    assert masked_email("ada@example.com") == "a***@example.com"


def test_the_last_owner_stays_one() -> None:
    with pytest.raises(LastOwner) as raised:
        check_leaves_owner("mem_1", ["mem_1"])

    assert raised.value.metadata == {"member_id": "mem_1"}


@pytest.mark.parametrize("owners", [["mem_1", "mem_2"], ["mem_2"], []])
def test_anybody_else_may_go(owners: list[str]) -> None:
    check_leaves_owner("mem_1", owners)
