import pytest

from om_server.rating.model import Model
from om_server.rating.price import Price
from om_server.rating.price_book import PriceBook
from om_server.rating.price_overlay import overlaid, overlaid_book
from om_server.rating.unit_rate import Rate

INPUT = Rate("input_tokens", "1")


def price(
    version: str, *rates: Rate, since: int | None = None, until: int | None = None, provider: str = "openai"
) -> Price:
    return Price(version, provider, "m", rates or (INPUT,), effective_from=since, effective_to=until)


def pieces(beneath: list[Price], stored: list[Price]) -> list[tuple[str, int | None, int | None]]:
    return [(piece.version, piece.effective_from, piece.effective_to) for piece in overlaid(beneath, stored)]


def test_between_the_end_of_one_and_the_beginning_of_the_next_there_is_no_price() -> None:
    assert pieces([price("list", until=50)], [price("own", since=80)]) == [
        ("list", None, 50),
        ("own", 80, None),
    ]


def test_an_earlier_price_that_ends_beneath_a_later_one_leaves_no_seam() -> None:
    assert pieces([], [price("early", since=10, until=30), price("late", since=20)]) == [
        ("early", 10, 20),
        ("late", 20, None),
    ]


@pytest.mark.parametrize("name", ["m", "m-001", "m-preview-04-17"])
def test_a_price_at_a_second_provider_is_found_by_every_name_of_the_model(name: str) -> None:
    book = PriceBook(
        [price("list")],
        models=[Model("openai", "m", stems=("m",))],
        fallback_providers={"azure": ("openai",)},
    )

    found = overlaid_book(book, [price("own", provider="azure")]).effective("azure", name, at=0)

    assert found is not None
    assert found.version == "own"
