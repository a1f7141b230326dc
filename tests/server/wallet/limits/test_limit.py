"""Limits: what they count, when their terms hold, and when they refuse."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_server.core.errors import InvalidArgument
from om_server.core.money import AMOUNT_MAX, AmountOutOfRange
from om_server.core.usage import UnitUnknown
from om_server.wallet.limits.limit import (
    CREDITS,
    EVENTS,
    Demand,
    Limit,
    LimitMode,
    LimitReached,
    Revision,
    Selector,
    Standing,
    Subject,
    Terms,
    new_limit,
    refusing,
    warnings,
)
from om_server.wallet.limits.window import Window, WindowKind

NOW, NOTICE = 1_000_000, 60
DAY = Window(WindowKind.DAY)
HUNDRED = Terms(LimitMode.HARD, 100, DAY)
ADA = Subject("chat", "ada", "acme", "team_1", "key_1", ("beta", "eu"))


def limit(terms: Terms = HUNDRED, **selector: object) -> Limit:
    """A limit whose first terms hold."""
    wanted = Selector(**selector)  # type: ignore[arg-type] # A table's row.
    return Limit("ent_1", wanted, EVENTS, (Revision(0, terms),), 0)


def standing(
    amount: int | None, *, used: int = 0, reserved: int = 0, terms: Terms = HUNDRED, end: int | None = 7
) -> Standing:
    return Standing(Demand(limit(terms), amount), terms, used, reserved, end)


@pytest.mark.parametrize(
    "selector",
    [
        {},
        {"feature_id": "chat"},
        {"user_id": "ada"},
        {"customer_id": "acme"},
        {"team_id": "team_1"},
        {"key_id": "key_1"},
        {"tag": "eu"},
        {"each_user": True},
        {"feature_id": "chat", "customer_id": "acme", "tag": "beta"},
    ],
)
def test_a_limit_counts_what_it_names(selector: dict[str, Any]) -> None:
    assert limit(**selector).selector.matches(ADA)


@pytest.mark.parametrize(
    "selector",
    [
        {"feature_id": "search"},
        {"user_id": "bob"},
        {"customer_id": "other"},
        {"team_id": "team_2"},
        {"key_id": "key_2"},
        {"tag": "us"},
        {"feature_id": "chat", "tag": "us"},
    ],
)
def test_all_that_a_limit_names_must_match(selector: dict[str, Any]) -> None:
    assert not limit(**selector).selector.matches(ADA)


def test_a_limit_for_each_user_counts_nothing_that_names_no_user() -> None:
    assert not Selector(each_user=True).matches(dataclasses.replace(ADA, user_id=""))
    with pytest.raises(InvalidArgument):
        Selector(user_id="ada", each_user=True)


@pytest.mark.parametrize(
    ("selector", "scope"),
    [
        ({}, ("organization", "")),
        ({"each_user": True}, ("user", "")),
        ({"each_user": True, "feature_id": "chat"}, ("feature", "chat")),
        ({"user_id": "ada", "tag": "eu"}, ("user", "ada")),
        ({"tag": "eu"}, ("tag", "eu")),
        ({"customer_id": "acme", "team_id": "t"}, ("customer", "acme")),
        ({"key_id": "k", "team_id": "t"}, ("key", "k")),
        ({"team_id": "t"}, ("team", "t")),
    ],
)
def test_an_edge_looks_for_one_thing_that_all_matching_calls_have(
    selector: dict[str, Any], scope: tuple[str, str]
) -> None:
    assert limit(**selector).selector.scope == scope


def test_spending_exactly_the_limit_is_allowed_and_the_next_unit_is_not() -> None:
    assert not standing(40, used=50, reserved=10).reached
    assert standing(41, used=50, reserved=10).reached


@given(
    allowed=st.integers(0, 50), used=st.integers(0, 60), reserved=st.integers(0, 20), need=st.integers(0, 30)
)
def test_a_hard_limit_is_never_passed_by_what_it_admits(
    allowed: int, used: int, reserved: int, need: int
) -> None:
    one = standing(need, used=used, reserved=reserved, terms=Terms(LimitMode.HARD, allowed, DAY))

    if need:
        assert (refusing([one]) is None) == (used + reserved + need <= allowed)
    else:
        # What uses nothing of it is no concern of a limit, however far that is passed.
        assert refusing([one]) is None


def test_who_asks_only_is_told_whether_anything_is_left() -> None:
    assert not standing(None, used=99).reached
    assert standing(None, used=100).reached
    assert standing(None, used=60, reserved=40).reached


def test_a_limit_of_zero_allows_nothing_and_no_number_refuses_nothing() -> None:
    none, unlimited = Terms(LimitMode.HARD, 0, DAY), Terms(LimitMode.HARD, None, DAY)

    assert standing(1, terms=none).reached
    assert standing(None, terms=none).reached
    assert not standing(1, used=10**9, terms=unlimited).reached
    assert standing(1, terms=unlimited).remaining is None


@pytest.mark.parametrize("mode", [LimitMode.SOFT, LimitMode.NONE])
def test_only_a_hard_limit_refuses(mode: LimitMode) -> None:
    passed = standing(1, used=100, terms=Terms(mode, 100, DAY))

    assert refusing([passed]) is None
    assert (warnings([passed]) == (passed,)) == (mode is LimitMode.SOFT)


def test_a_hard_limit_does_not_warn_and_one_that_has_room_says_nothing() -> None:
    soft = Terms(LimitMode.SOFT, 100, DAY)

    assert warnings([standing(1, used=100)]) == ()
    assert warnings([standing(1, used=99, terms=soft)]) == ()


def test_of_several_the_one_that_refuses_longest_is_named() -> None:
    day, month, ever = (standing(1, used=100, end=end) for end in (10, 20, None))
    free = standing(1, end=30)

    assert refusing([month, day, free]) is month
    assert refusing([day, ever, month]) is ever
    assert refusing([free]) is None


def test_a_refusal_says_what_is_needed_used_reserved_and_left() -> None:
    error = LimitReached(standing(5, used=90, reserved=8))

    assert (error.code, error.reason) == (9, "LIMIT_REACHED")
    assert error.metadata == {
        "limit_id": "ent_1",
        "window": "day",
        "unit": "events",
        "needed": "5",
        "available": "2",
        "used": "90",
        "reserved": "8",
        "window_end": "7",
    }


def test_a_refusal_never_shows_less_than_nothing() -> None:
    assert LimitReached(standing(None, used=120, end=None)).metadata == {
        "limit_id": "ent_1",
        "window": "day",
        "unit": "events",
        "needed": "",
        "available": "0",
        "used": "120",
        "reserved": "0",
        "window_end": "",
    }


def test_a_hard_limit_holds_after_the_notice_and_any_other_at_once() -> None:
    hard = new_limit("ent_1", Selector(), CREDITS, terms=HUNDRED, now=NOW, notice=NOTICE)
    soft = new_limit("ent_1", Selector(), CREDITS, terms=Terms(LimitMode.SOFT, 1), now=NOW, notice=NOTICE)

    assert hard.terms(NOW + NOTICE - 1) is None
    assert hard.terms(NOW + NOTICE) == HUNDRED
    assert hard.latest.effective_time == NOW + NOTICE
    assert soft.terms(NOW) == Terms(LimitMode.SOFT, 1)


def test_calls_reserve_before_a_hard_limit_holds() -> None:
    hard = new_limit("ent_1", Selector(), CREDITS, terms=HUNDRED, now=NOW, notice=NOTICE)

    assert hard.reserves(NOW)
    assert not limit(Terms(LimitMode.SOFT, 1)).reserves(NOW)
    assert not limit(Terms(LimitMode.HARD, None)).reserves(NOW)


def test_a_lowered_limit_holds_after_the_notice_and_the_old_one_until_then() -> None:
    fifty = Terms(LimitMode.HARD, 50, DAY)

    revised = limit().revised(fifty, now=NOW, notice=NOTICE)

    assert revised.latest.effective_time == NOW + NOTICE
    assert revised.terms(NOW + NOTICE - 1) == HUNDRED
    assert revised.terms(NOW + NOTICE) == fifty


@pytest.mark.parametrize(
    "terms",
    [
        Terms(LimitMode.HARD, 101, DAY),
        Terms(LimitMode.HARD, None, DAY),
        Terms(LimitMode.SOFT, 1, DAY),
        Terms(LimitMode.NONE, 1, Window(WindowKind.MONTH)),
    ],
)
def test_whoever_is_given_more_has_it_at_once(terms: Terms) -> None:
    revised = limit().revised(terms, now=NOW, notice=NOTICE)

    assert revised.terms(NOW) == terms
    assert revised.latest.effective_time == NOW


@pytest.mark.parametrize(
    "terms", [Terms(LimitMode.HARD, 100, Window(WindowKind.MONTH)), Terms(LimitMode.HARD, 0, DAY)]
)
def test_another_window_may_refuse_more_and_waits(terms: Terms) -> None:
    assert limit().revised(terms, now=NOW, notice=NOTICE).terms(NOW) == HUNDRED


def test_a_limit_that_becomes_hard_waits() -> None:
    soft = limit(Terms(LimitMode.SOFT, 10, DAY))

    revised = soft.revised(HUNDRED, now=NOW, notice=NOTICE)

    assert revised.terms(NOW) == Terms(LimitMode.SOFT, 10, DAY)
    assert revised.reserves(NOW)


def test_the_same_terms_again_change_nothing() -> None:
    fifty = Terms(LimitMode.HARD, 50, DAY)
    revised = limit().revised(fifty, now=NOW, notice=NOTICE)

    assert revised.revised(fifty, now=NOW + 30, notice=NOTICE) == revised


def test_who_lowers_again_and_again_puts_nothing_off() -> None:
    fifty, ten = Terms(LimitMode.HARD, 50, DAY), Terms(LimitMode.HARD, 10, DAY)
    revised = limit().revised(fifty, now=NOW, notice=NOTICE).revised(ten, now=NOW + 30, notice=NOTICE)

    assert [revised.terms(NOW + after) for after in (59, 60, 89, 90)] == [HUNDRED, fifty, fifty, ten]


def test_a_limit_that_does_not_hold_yet_is_raised_but_not_hastened() -> None:
    hard = new_limit("ent_1", Selector(), CREDITS, terms=HUNDRED, now=NOW, notice=NOTICE)
    more = Terms(LimitMode.HARD, 200, DAY)

    revised = hard.revised(more, now=NOW + 30, notice=NOTICE)

    assert revised.terms(NOW + 59) is None
    assert revised.terms(NOW + 60) == more


@pytest.mark.parametrize("amount", [-1, AMOUNT_MAX + 1])
def test_an_amount_out_of_range_is_refused(amount: int) -> None:
    with pytest.raises(AmountOutOfRange):
        Terms(LimitMode.HARD, amount)


def test_a_unit_that_nobody_counts_is_refused() -> None:
    with pytest.raises(UnitUnknown):
        new_limit("ent_1", Selector(), "tokens", terms=HUNDRED, now=NOW, notice=NOTICE)
    assert new_limit("e", Selector(), "custom:seats", terms=HUNDRED, now=NOW, notice=0).unit == "custom:seats"
