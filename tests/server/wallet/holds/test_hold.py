import pytest

from om_server.core.errors import InvalidArgument
from om_server.core.money import AMOUNT_MAX, AmountOutOfRange
from om_server.wallet.grant import Slice
from om_server.wallet.holds.hold import HOLD_LIFE, Hold, HoldConflict, HoldRequest, HoldState

HELD = (Slice(0, "wal", "a", 6, 6), Slice(1, "wal", "b", 4, 4))
FREE = tuple(piece.holding(0) for piece in HELD)
PENDING = Hold("hld", "wal", 10, 100, 0, slices=HELD)
CAPTURED = PENDING.resolved(HoldState.CAPTURED, FREE, captured=7)
RELEASED = PENDING.resolved(HoldState.RELEASED, FREE)
EXPIRED = PENDING.resolved(HoldState.EXPIRED, FREE)


@pytest.mark.parametrize("amount", [0, -1, AMOUNT_MAX + 1])
def test_only_amounts_are_held(amount: int) -> None:
    with pytest.raises(AmountOutOfRange):
        HoldRequest("wal", amount, "key")


def test_a_hold_lives_an_hour_or_as_long_as_it_is_told_but_not_into_the_past() -> None:
    assert HoldRequest("wal", 1, "key").ends(50) == 50 + HOLD_LIFE
    assert HoldRequest("wal", 1, "key", expire_time=51).ends(50) == 51
    with pytest.raises(InvalidArgument, match="past"):
        HoldRequest("wal", 1, "key", expire_time=50).ends(50)


def test_a_hold_ends_with_nothing_set_aside() -> None:
    assert (PENDING.held, CAPTURED.held, CAPTURED.captured, RELEASED.captured) == (10, 0, 7, 0)
    with pytest.raises(ValueError, match="10 set aside"):
        PENDING.resolved(HoldState.RELEASED, HELD)


def test_a_capture_is_new_a_repeat_or_a_contradiction() -> None:
    assert PENDING.captures_anew(10)
    assert EXPIRED.captures_anew(3)
    assert not CAPTURED.captures_anew(7)
    for hold, amount in ((CAPTURED, 8), (RELEASED, 7)):
        with pytest.raises(HoldConflict):
            hold.captures_anew(amount)
    with pytest.raises(AmountOutOfRange):
        PENDING.captures_anew(11)


def test_a_release_is_new_a_repeat_or_a_contradiction() -> None:
    assert PENDING.releases_anew()
    assert not RELEASED.releases_anew()
    assert not EXPIRED.releases_anew()
    with pytest.raises(HoldConflict) as conflict:
        CAPTURED.releases_anew()
    assert conflict.value.metadata == {"hold_id": "hld", "state": "captured"}
