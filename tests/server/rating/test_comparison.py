"""Sums of differences, and the biggest of them."""

from hypothesis import given
from hypothesis import strategies as st

from om_server.rating.comparison import DIFFERENCES_DEFAULT, Compared, Comparison, Difference

AMOUNTS = st.integers(0, 30)
FOUND = st.lists(st.tuples(AMOUNTS, AMOUNTS, st.integers(-5, 5)), max_size=40)


@given(FOUND, st.tuples(st.integers(0, 5), st.integers(0, 40)))
def test_the_biggest_are_kept_however_often_it_is_stored_in_between(
    found: list[tuple[int, int, int]], kept: tuple[int, int]
) -> None:
    keep, cut = kept
    listed = [Difference("api", f"e{at:02}", before, after) for at, (before, after, _) in enumerate(found)]
    comparison = Comparison(keep)

    for at, difference in enumerate(listed):
        if at == cut:
            comparison = Comparison(keep, since=Compared.from_json(comparison.compared().to_json()))
        comparison.add(difference, cost=found[at][2])

    changed = [one for one in listed if one.before != one.after]
    biggest = sorted(changed, key=lambda one: one.weight, reverse=True)
    assert comparison.compared() == Compared(
        event_count=len(found),
        changed_count=len(changed),
        charge_before=sum(one.before for one in listed),
        charge_after=sum(one.after for one in listed),
        cost_difference=sum(cost for _, _, cost in found),
        differences=tuple(biggest[: keep or DIFFERENCES_DEFAULT]),
    )


def test_what_would_have_no_charge_is_only_counted() -> None:
    comparison = Comparison(1)
    comparison.add_unrated()
    comparison.add_moved(-3)

    assert comparison.compared() == Compared(event_count=1, unrated_count=1, wallet_difference=-3)


def test_only_the_biggest_are_kept_and_what_did_not_change_is_none() -> None:
    comparison = Comparison(2)
    for name, after in (("a", 3), ("b", 10), ("c", 40), ("d", 9), ("e", 0)):
        comparison.add(Difference("api", name, 10, after), cost=1)

    compared = comparison.compared()

    assert [found.event_id for found in compared.differences] == ["c", "e"]
    assert (compared.changed_count, compared.event_count, compared.cost_difference) == (4, 5, 5)
    assert Compared.from_json(compared.to_json()) == compared
