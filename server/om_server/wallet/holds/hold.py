"""Holds that callers make: money set aside until it is charged, freed, or its time is over."""

import enum
from dataclasses import dataclass, replace

from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import Code, DomainError, InvalidArgument
from om_server.core.money import AMOUNT_MAX, AmountOutOfRange
from om_server.wallet.grant import Slice

#: How long a hold lives if its maker does not say.
HOLD_LIFE = 3600 * MICROS_PER_SECOND


class HoldState(enum.StrEnum):
    """Where a hold stands; the names are the contract's."""

    PENDING = "pending"
    CAPTURED = "captured"
    RELEASED = "released"
    EXPIRED = "expired"


class HoldConflict(DomainError):
    """The hold was resolved in another way, or is an edge's lease, which only settling captures."""

    code = Code.FAILED_PRECONDITION
    reason = "HOLD_STATE"

    def __init__(self, hold_id: str, *, state: str) -> None:
        super().__init__(f"{hold_id} is {state}", hold_id=hold_id, state=state)


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """What is to be set aside of a wallet, in nano-credits, for an hour unless said otherwise."""

    wallet_id: str
    amount: int
    idempotency_key: str
    expire_time: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.amount <= AMOUNT_MAX:
            raise AmountOutOfRange(str(self.amount))

    def ends(self, now: int) -> int:
        """Return when the hold frees itself."""
        if self.expire_time is None:
            return now + HOLD_LIFE
        if self.expire_time <= now:
            raise InvalidArgument("expire_time", "in the past")
        return self.expire_time


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as it is stored. `captured` is what was charged; None while it is pending."""

    hold_id: str
    wallet_id: str
    amount: int
    expire_time: int
    create_time: int
    state: HoldState = HoldState.PENDING
    captured: int | None = None
    slices: tuple[Slice, ...] = ()

    @property
    def held(self) -> int:
        """What is still set aside."""
        return sum(piece.held for piece in self.slices)

    def resolved(self, state: HoldState, slices: tuple[Slice, ...], *, captured: int = 0) -> "Hold":
        """Return the hold after its end, which leaves these slices."""
        after = replace(self, state=state, captured=captured, slices=slices)
        if after.held:
            raise ValueError(f"{self.hold_id} would end with {after.held} set aside")
        return after

    def captures_anew(self, amount: int) -> bool:
        """Whether a capture has something to do; no if it is a repeat, HOLD_STATE if it contradicts.

        A hold that expired can still be captured: the work that it stood for has happened.
        """
        if amount > self.amount:
            raise AmountOutOfRange(str(amount))
        if self.state is HoldState.CAPTURED and self.captured == amount:
            return False
        if self.state in (HoldState.CAPTURED, HoldState.RELEASED):
            raise HoldConflict(self.hold_id, state=self.state)
        return True

    def releases_anew(self) -> bool:
        """Whether a release has something to do; no if it is free already, HOLD_STATE if it was charged."""
        if self.state is HoldState.CAPTURED:
            raise HoldConflict(self.hold_id, state=self.state)
        return self.state is HoldState.PENDING
