"""The cap on output tokens that a refusal names."""

from hypothesis import given
from hypothesis import strategies as st

from om_server.pipeline.admission import largest_output


@given(
    rest=st.integers(0, 10**12),
    output=st.integers(1, 10**6),
    rate=st.integers(1, 10**13),
    available=st.integers(0, 10**12),
)
def test_the_cap_fits_and_one_token_more_does_not(rest: int, output: int, rate: int, available: int) -> None:
    """The bound with the cap is within what is available, and no larger cap's is."""

    def bound(cap: int) -> int:
        return rest + -(-cap * rate // 1_000_000)

    cap = largest_output(available, rest, rate=rate, output=output)

    if cap is None:
        assert bound(1) > available
    else:
        assert 1 <= cap <= output
        assert bound(cap) <= available
        assert cap == output or bound(cap + 1) > available
