"""A usage event after settlement: what it cost, what it was charged, and who paid."""

from enum import StrEnum

from om_server.core.event import Event, UsageLine
from om_server.core.value import value_type


class SettledState(StrEnum):
    """Where the money of an event stands; the names are the contract's."""

    RATED = "RATED"
    UNRATED = "UNRATED"
    ZERO = "ZERO"


# Asked several times for each event, and a member looked up in its class takes as long as the answer.
_UNRATED = SettledState.UNRATED


@value_type(frozen=True, slots=True)
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


@value_type(frozen=True, slots=True)
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
        cost, charge = self.cost, self.charge
        for line in self.lines:
            if line.cost is None or line.charge is None:
                # It breaks the sum, which is as wrong as a false total.
                raise ValueError("a share is missing, so they do not add up to the event")
            cost -= line.cost
            charge -= line.charge
        if self.lines and (cost or charge):
            raise ValueError("the shares of the lines do not add up to the event")

    @property
    def rated(self) -> bool:
        """Whether cost and charge are known."""
        return self.state is not _UNRATED
