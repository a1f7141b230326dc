"""A usage event after settlement: what it cost, what it was charged, and who paid."""

from dataclasses import dataclass
from enum import StrEnum

from om_server.core.event import Event, UsageLine


class SettledState(StrEnum):
    """Where the money of an event stands; the names are the contract's."""

    RATED = "RATED"
    UNRATED = "UNRATED"
    ZERO = "ZERO"


@dataclass(frozen=True, slots=True)
class SettledLine:
    """A line with its shares of the event's cost (nano-dollars) and charge (nano-credits).

    `priced_model` and `price_version` are empty, and `context_threshold` is 0, where no price was used.
    """

    line: UsageLine
    cost: int | None
    charge: int | None
    priced_model: str = ""
    price_version: str = ""
    context_threshold: int = 0


@dataclass(frozen=True, slots=True)
class SettledEvent:
    """An event with its rating and payment: cost in nano-dollars, the rest in nano-credits.

    `lines` takes the place of the event's own lines. An unrated event counts as having neither cost
    nor charge, even where one of the two is known. Every other event has both, and the shares of its
    lines add up to them: rollups are sums of shares.
    """

    event: Event
    state: SettledState
    cost: int | None
    charge: int | None
    lines: tuple[SettledLine, ...]
    settle_time: int
    wallet_id: str = ""
    receivable: int = 0
    flags: tuple[str, ...] = ()
    unrated_reason: str = ""
    burn_table_version: str = ""

    def __post_init__(self) -> None:
        if not self.rated:
            return
        if self.cost is None or self.charge is None:
            raise ValueError("only an unrated event lacks cost or charge")
        if not self.lines:
            return
        # A None among the shares breaks the sum, which is as wrong as a false total.
        costs, charges = zip(*((line.cost, line.charge) for line in self.lines), strict=True)
        if None in (*costs, *charges) or sum(costs) != self.cost or sum(charges) != self.charge:
            raise ValueError("the shares of the lines do not add up to the event")

    @property
    def rated(self) -> bool:
        """Whether cost and charge are known."""
        return self.state is not SettledState.UNRATED
