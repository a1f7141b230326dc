"""Random burn tables, prices and usages, for properties that hold for all of them."""

from hypothesis import strategies as st

from om_server.core.event import UsageLine
from om_server.core.usage import Usage
from om_server.rating.burn_table import ANSWER, CACHED, BurnRule
from om_server.rating.unit_rate import Rate

UNITS = ("input_tokens", "cache_read_tokens", "output_tokens", "web_searches")
FEATURES = ("", "chat", "search")

DECIMALS = st.sampled_from(["0", "0.5", "1", "2", "7.25"])
# Two sizes of prompt: a rate for every unit above a threshold needs one below it.
RATES = st.dictionaries(
    st.sampled_from(UNITS), st.tuples(DECIMALS, st.none() | DECIMALS), min_size=1, max_size=4
).map(
    lambda listed: tuple(
        rate
        for unit, (base, above) in listed.items()
        for rate in (Rate(unit, base), *([Rate(unit, above, context_threshold=1000)] if above else []))
    )
)
# Rates by quantity: a unit has them, or rates by the size of the prompt.
GRADUATED = st.dictionaries(
    st.sampled_from(UNITS),
    st.tuples(DECIMALS, st.dictionaries(st.sampled_from([1, 1000, 5000]), DECIMALS, max_size=2)),
    max_size=2,
).map(
    lambda listed: tuple(
        rate
        for unit, (base, tiers) in listed.items()
        for rate in (
            Rate(unit, base),
            *(Rate(unit, price, quantity_threshold=above) for above, price in sorted(tiers.items())),
        )
    )
)
FEES = st.sampled_from([0, 0, 1, 10**6])


@st.composite
def rules(draw: st.DrawFn) -> BurnRule:
    graduated = draw(GRADUATED)
    units = {rate.unit for rate in graduated}
    rates = graduated + tuple(rate for rate in draw(st.just(()) | RATES) if rate.unit not in units)
    rated = sorted({rate.unit for rate in rates})
    free = draw(st.dictionaries(st.sampled_from(rated), st.integers(1, 2000), max_size=2)) if rated else {}
    return BurnRule(
        feature_id=draw(st.sampled_from(FEATURES)),
        provider=draw(st.sampled_from(["", "openai"])),
        model_pattern=draw(st.sampled_from(["", "m", "*"])),
        credits_per_cost=draw(
            st.sampled_from(["0", "700", "1000"] if rates else ["0", "500", "1000", "1500"])
        ),
        rates=rates,
        flat_nanos=draw(FEES),
        minimum_nanos=draw(FEES),
        free_units=tuple(sorted(free.items())),
        cached_answer_nanos=draw(st.none() | FEES),
    )


TABLES = st.lists(rules(), max_size=3).map(tuple)
LINES = st.lists(
    st.builds(
        lambda amounts, tier, cached: UsageLine(
            "openai",
            "m",
            Usage.measured(**amounts),
            tier=tier,
            attributes={ANSWER: CACHED} if cached else {},
        ),
        st.dictionaries(st.sampled_from(UNITS), st.sampled_from([0, 1, 999, 1001, 10**6]), min_size=1),
        st.sampled_from(["", "batch"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=3,
)
