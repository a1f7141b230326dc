from om_server.analytics.counters import Counters, QuantitySum
from om_server.analytics.rollup import QuantityKey, RollupDelta, RollupKey
from om_server.analytics.tally import Tally

KEY = RollupKey("org", 1, "", "s")


def test_what_goes_into_one_row_is_summed() -> None:
    tally = Tally()
    for number in (1, 2):
        tally.row(KEY).count((1, 0, 0, 0, 10 * number, number))
        tally.row(KEY).measure("input_tokens", 5 * number, number)
    tally.row(RollupKey("org", 2, "", "s")).count((1, 1, 0, 0, 0, 0))

    assert tally.delta({}) == RollupDelta(
        counters={
            KEY: Counters(2, cost=30, charge=3),
            RollupKey("org", 2, "", "s"): Counters(1, unrated_count=1),
        },
        quantities={QuantityKey(*KEY, "input_tokens"): QuantitySum(15, 3)},
    )


def test_a_quantity_that_changed_alone_makes_no_row_of_counters() -> None:
    """As in a correction, whose counters may all be zero and are left out."""
    tally = Tally()
    tally.row(KEY).measure("input_tokens", 5, 0)

    assert tally.delta({}).counters == {}
