from dataclasses import replace

import pytest

from om_server.analytics.settled import SettledState
from tests.server.analytics.examples import line, settled


@pytest.mark.parametrize("state", [SettledState.RATED, SettledState.ZERO])
def test_only_an_unrated_event_lacks_an_amount(state: SettledState) -> None:
    with pytest.raises(ValueError, match="lacks"):
        replace(settled("e"), state=state, cost=None)
    with pytest.raises(ValueError, match="lacks"):
        replace(settled("e"), state=state, charge=None)


def test_shares_that_do_not_add_up_are_refused() -> None:
    event = settled("e", line(cost=10, charge=20), line(cost=20, charge=10))
    with pytest.raises(ValueError, match="add up"):
        replace(event, cost=31)
    with pytest.raises(ValueError, match="add up"):
        replace(event, charge=29)


def test_a_missing_share_is_not_zero() -> None:
    event = settled("e", line(cost=10), line(cost=0))
    with pytest.raises(ValueError, match="add up"):
        replace(event, lines=(event.lines[0], replace(event.lines[1], cost=None)))


def test_an_unrated_event_may_know_some_of_its_amounts() -> None:
    event = settled("e", line(cost=None), state=SettledState.UNRATED, cost=None)
    assert not event.rated
    assert event.charge == 20
