import pytest

from om_server.rating.burn_table import BurnRule, burn_table
from om_server.rating.onset import never_dearer
from om_server.rating.price import Price
from om_server.rating.price_overlay import overlaid
from om_server.rating.unit_rate import Rate

COST = BurnRule(credits_per_cost="1000")
IMAGES = Rate("images", "2", 1)
BASE = BurnRule(
    "chat", rates=(IMAGES,), flat_nanos=5, minimum_nanos=9, free_units=(("images", 3),), cached_answer_nanos=2
)


def like_base(**changes: object) -> BurnRule:
    fields: dict[str, object] = {
        "rates": (IMAGES,),
        "flat_nanos": 5,
        "minimum_nanos": 9,
        "free_units": (("images", 3),),
        "cached_answer_nanos": 2,
        **changes,
    }
    return BurnRule("chat", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "cheaper"),
    [
        ((), (), True),
        ((), (BurnRule(credits_per_cost="999"),), True),
        ((), (BurnRule(credits_per_cost="1000.1"),), False),
        # What stands behind a rule that decides everything never applies.
        (
            (BurnRule(credits_per_cost="700"),),
            (BurnRule("chat", credits_per_cost="600"), BurnRule(credits_per_cost="700")),
            True,
        ),
        ((BurnRule(credits_per_cost="700"),), (BurnRule("chat", credits_per_cost="600"),), False),
        ((), (BurnRule(credits_per_cost="10", flat_nanos=1),), False),
        ((), (BurnRule("chat", credits_per_cost="10", rates=(IMAGES,)),), False),
        ((BurnRule("chat", credits_per_cost="1", cached_answer_nanos=0),), (), False),
        ((BASE,), (like_base(flat_nanos=6),), False),
        ((BASE,), (like_base(flat_nanos=4),), True),
        ((BASE,), (like_base(minimum_nanos=10),), False),
        ((BASE,), (like_base(minimum_nanos=8),), True),
        ((BASE,), (like_base(free_units=(("images", 2),)),), False),
        ((BASE,), (like_base(free_units=(("images", 4),)),), True),
        ((BASE,), (like_base(cached_answer_nanos=3),), False),
        ((BASE,), (like_base(cached_answer_nanos=1),), True),
        ((BASE,), (like_base(cached_answer_nanos=None),), False),
        ((BASE,), (like_base(rates=(Rate("images", "2.1", 1),)),), False),
        ((BASE,), (like_base(rates=(Rate("images", "1.9", 1),)),), True),
        ((BASE,), (like_base(rates=(IMAGES, Rate("pages", "0.1"))),), False),
        ((BASE,), (like_base(rates=(IMAGES, Rate("images", "3", 1, context_threshold=7))),), False),
        ((BASE,), (like_base(rates=(IMAGES, Rate("images", "1", 1, context_threshold=7))),), True),
        ((BASE,), (BurnRule("search", flat_nanos=1),), False),
        # One charges by cost and the other does not: which is dearer depends on the price.
        ((BurnRule("chat", rates=(IMAGES,)),), (), False),
        ((BASE,), (like_base(credits_per_cost="0.1"),), False),
    ],
)
def test_a_table_is_a_raise_unless_it_is_shown_not_to_be(
    old: tuple[BurnRule, ...], new: tuple[BurnRule, ...], *, cheaper: bool
) -> None:
    assert never_dearer(burn_table("new", new), burn_table("old", old)) is cheaper


def image(size: str, price: str) -> Rate:
    return Rate("images", price, 1, (("size", size),))


@pytest.mark.parametrize(
    ("new", "cheaper"),
    [
        ((image("s", "1"), image("l", "4")), True),
        ((image("s", "1.1"), image("l", "4")), False),
        # A size that had no rate, up to the dearest that there was.
        ((image("s", "1"), image("xl", "4")), True),
        ((image("s", "1"), image("xl", "4.1")), False),
        ((Rate("images", "1", 1),), True),
        ((Rate("images", "2", 1),), False),
    ],
)
def test_rates_by_attributes_are_compared_one_by_one(new: tuple[Rate, ...], *, cheaper: bool) -> None:
    old = BurnRule(rates=(image("s", "1"), image("l", "4")))

    assert never_dearer(burn_table("new", (BurnRule(rates=new),)), burn_table("old", (old,))) is cheaper


def test_the_price_that_began_last_counts_unit_by_unit_whatever_was_stored_first() -> None:
    def price(version: str, since: int | None, *rates: Rate, until: int | None = None) -> Price:
        return Price(version, "openai", "m", rates, effective_from=since, effective_to=until)

    pieces = overlaid(
        [price("list", None, Rate("input_tokens", "1"), Rate("output_tokens", "2"), until=50)],
        [
            price("late", 20, Rate("input_tokens", "3")),
            price("early", 10, Rate("input_tokens", "2"), Rate("pages", "9")),
        ],
    )

    assert [(piece.version, piece.effective_from, piece.effective_to) for piece in pieces] == [
        ("list", None, 10),
        ("early+list", 10, 20),
        ("early+late+list", 20, 50),
        ("early+late", 50, None),
    ]
    rates = {rate.unit: rate.price for rate in pieces[2].rates}
    assert rates == {"input_tokens": "3", "output_tokens": "2", "pages": "9"}
