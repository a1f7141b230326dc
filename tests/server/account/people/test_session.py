"""How long a session lives."""

from hypothesis import given
from hypothesis import strategies as st

from om_server.account.people.session import ABSOLUTE_LIMIT, IDLE_LIMIT, Session
from tests.server.account.harness import SECOND, START

HOUR = 3600 * SECOND


def session(create_time: int = START, use_time: int = START) -> Session:
    return Session("org_1", "ses_1", "mem_1", create_time, use_time)


def test_a_session_ends_seven_days_after_its_last_use() -> None:
    assert not session().ended(START + IDLE_LIMIT - 1)
    assert session().ended(START + IDLE_LIMIT)
    assert IDLE_LIMIT == 7 * 24 * HOUR


def test_a_session_ends_thirty_days_after_its_begin_however_it_is_used() -> None:
    used = session(use_time=START + ABSOLUTE_LIMIT - 1)

    assert not used.ended(START + ABSOLUTE_LIMIT - 1)
    assert used.ended(START + ABSOLUTE_LIMIT)
    assert used.expire_time == START + 30 * 24 * HOUR


@given(st.lists(st.integers(min_value=0, max_value=2 * IDLE_LIMIT), max_size=30))
def test_writing_a_use_down_by_the_hour_ends_no_session_early_by_more_than_that(pauses: list[int]) -> None:
    """Compare with a session whose every use is written down."""
    kept, exact = session(), session()
    now = START
    for pause in pauses:
        now += pause
        if exact.ended(now):
            assert kept.ended(now)
            return
        if kept.ended(now):
            assert exact.ended(now + HOUR)
            return
        exact = session(use_time=now)
        if kept.use_is_news(now):
            kept = session(use_time=now)
