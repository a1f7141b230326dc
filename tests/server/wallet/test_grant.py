import functools

from hypothesis import given
from hypothesis import strategies as st

from om_server.wallet.grant import Grant, burn_order
from tests.server.wallet.reference import Purse, comes_before

GRANTS = st.builds(
    Grant,
    grant_id=st.uuids().map(str),
    wallet_id=st.just("wal"),
    amount=st.just(1),
    create_time=st.integers(0, 2),
    priority=st.integers(0, 2),
    expire_time=st.none() | st.integers(1, 3),
)


@given(st.lists(GRANTS, unique_by=lambda grant: grant.grant_id))
def test_the_burn_order_is_that_of_a_comparison_of_every_two(grants: list[Grant]) -> None:
    def compare(one: Grant, other: Grant) -> int:
        purses = [Purse(grant.grant_id, grant.priority, grant.expire_time, grant.create_time)
                  for grant in (one, other)]  # fmt: skip
        return -1 if comes_before(*purses) else 1

    line = Grant("", "wal", 0, 0, priority=0, credit_line=True)
    assert sorted([line, *grants], key=burn_order) == [
        *sorted(grants, key=functools.cmp_to_key(compare)),
        line,
    ]


def test_the_moment_of_expiry_is_the_first_that_does_not_count() -> None:
    grant = Grant("grt", "wal", 1, 0, expire_time=10)
    assert [grant.expired(now) for now in (9, 10, 11)] == [False, True, True]
    assert not Grant("grt", "wal", 1, 0).expired(2**62)
