import pytest

from om_server.account.listing import Listing, Page, Position
from om_server.core.errors import PageTokenInvalid
from om_server.core.page import Cursor, PageRequest, encode_token

ROWS = [(time, f"id_{time}") for time in range(1, 6)]


def fetch(listing: Listing) -> list[tuple[int, str]]:
    after = listing.after or (0, "")
    return [row for row in ROWS if row > after][: listing.limit]


def position(row: tuple[int, str]) -> Position:
    return row


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6])
def test_pages_make_the_whole_list_once(size: int) -> None:
    seen: list[tuple[int, str]] = []
    token, first = "", True
    while first or token:
        listing = Listing(PageRequest.of(size, token), list="rows")
        page = listing.page(fetch(listing), position)
        assert len(page.items) <= size
        seen += page.items
        token, first = page.next_page_token, False

    assert seen == ROWS


def test_a_list_that_fits_has_no_next_page() -> None:
    listing = Listing(PageRequest.of(5), list="rows")

    assert listing.page(fetch(listing), position, total_size=9) == Page(tuple(ROWS), "", 9)


def test_a_token_belongs_to_its_list() -> None:
    token = Listing(PageRequest.of(1), list="teams").page(ROWS, position).next_page_token

    with pytest.raises(PageTokenInvalid):
        Listing(PageRequest.of(1, token), list="keys")


@pytest.mark.parametrize("cursor", [(), (1,), ("1", "a"), (1, 2), (1, "a", "b"), (-1, "a"), (2**63, "a")])
def test_a_forged_position_never_reaches_the_database(cursor: Cursor) -> None:
    with pytest.raises(PageTokenInvalid):
        Listing(PageRequest.of(1, encode_token(cursor, {"list": "rows"})), list="rows")
