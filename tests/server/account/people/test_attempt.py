"""How often something may be tried."""

import pytest

from om_server.account.people.attempt import (
    FAILED_SIGN_INS,
    INVITE_MAILS,
    RESET_MAILS,
    AttemptLimit,
    Attempts,
)

LIMIT = AttemptLimit("test", count_max=3, window=100)


@pytest.mark.parametrize(
    ("attempts", "now", "wait"),
    [
        (Attempts(), 0, 0),
        (Attempts(2, 1000), 1000, 0),
        (Attempts(3, 1000), 1000, 100),
        (Attempts(3, 1000), 1099, 1),
        (Attempts(3, 1000), 1100, 0),
        (Attempts(9, 1000), 5000, 0),
    ],
)
def test_nothing_more_may_be_tried_until_the_window_ends(attempts: Attempts, now: int, wait: int) -> None:
    assert LIMIT.wait(attempts, now) == wait


def test_the_limits_are_those_that_are_documented() -> None:
    assert (FAILED_SIGN_INS.count_max, FAILED_SIGN_INS.window) == (10, 900_000_000)
    for mails in (INVITE_MAILS, RESET_MAILS):
        assert (mails.count_max, mails.window) == (5, 3_600_000_000)
