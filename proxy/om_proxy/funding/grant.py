"""What pays for one call, and what the call keeps of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from om_proxy.funding.purse import Part
from om_proxy.funding.rates import ModelRates
from om_proxy.metering.reading import Line

#: Finds the rates of a provider's model on the card; None where it is not there.
RatesOf = Callable[[str, str], ModelRates | None]


@dataclass(slots=True)
class Grant:
    """Who pays for a call, and from which leases. Extending a stream replaces the parts."""

    wallet_id: str = ""  # Empty: nobody pays.
    parts: tuple[Part, ...] = ()
    unfunded: bool = False  # The server was away, and who pays allows that.

    @property
    def bound_nanos(self) -> int:
        """All that is set aside for the call."""
        return sum(part.bound_nanos for part in self.parts)

    def shares(self, kept_nanos: int) -> tuple[int, ...]:
        """Spread what the call keeps over the parts, the first ones whole; none keeps more than its bound."""
        shares: list[int] = []
        for part in self.parts:
            share = min(part.bound_nanos, kept_nanos)
            kept_nanos -= share
            shares.append(share)
        return tuple(shares)


def kept_nanos(grant: Grant, lines: Sequence[Line], rates_of: RatesOf) -> int:
    """What a call with these lines keeps: never below the later charge, unless that is above the bound.

    A line whose model or whose quantity is not known keeps everything, until the server knows better.
    """
    total = 0
    for line in lines:
        rates = rates_of(line.provider, line.model)
        nanos = rates.line_nanos(line) if rates is not None else None
        if nanos is None:
            return grant.bound_nanos
        total += nanos
    return min(total, grant.bound_nanos)
