"""What usage costs, worked out again: prices and markups as they were written, in exact fractions."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from om_server.core.event import UsageLine

#: Dollars for a million tokens in and out, as the price list has them.
LISTED: Mapping[str, tuple[Fraction, Fraction]] = {
    "gpt-4o": (Fraction("2.5"), Fraction(10)),
    "gpt-4o-mini": (Fraction("0.15"), Fraction("0.6")),
}
UNPRICED = "nobody-knows-1"
#: Nano-credits for a nano-dollar, where nothing else was said.
MARKUP = Fraction(1000)
#: How long before it applies a raise is written: two lives of a rate card.
LEAD = 120_000_000
EVER = -1


class Written(NamedTuple):
    """What applies from a time on; for a model where it is a price, for all where it is a markup."""

    model: str
    since: int
    written: int
    rates: tuple[Fraction, Fraction]
    markup: Fraction


@dataclass
class Tariff:
    """All that an organization wrote, in that order."""

    entries: list[Written] = field(default_factory=list)

    def charges(self, lines: Sequence[UsageLine], *, at: int, known_by: int) -> set[int | None]:
        """What usage of a time may be charged by a transaction of a time; None is without a price.

        Of what was written at the very time of the transaction, nobody can say whether it came first.
        """
        sure = [entry for entry in self.entries if entry.written < known_by]
        maybe = [entry for entry in self.entries if entry.written == known_by]
        return {_charge([*sure, *maybe[:count]], lines, at) for count in range(len(maybe) + 1)}

    def price_onset(self, model: str, factor: Fraction, now: int) -> int | None:
        """From when a price of so many times the listed one has to apply; None if it is refused."""
        since = now
        if model not in LISTED:
            since = EVER
        elif any(factor * LISTED[model][0] > rates[0] for rates in self._rates(model, now)):
            since = now + LEAD
        taken = [entry.since for entry in self.entries if entry.model == model]
        return None if any(other >= since for other in taken) else since

    def markup_onset(self, markup: Fraction, now: int) -> int:
        """From when a markup has to apply."""
        times = [now, *(entry.since for entry in self.entries if now < entry.since < now + LEAD)]
        dearer = any(markup > _markup(self.entries, at) for at in times)
        return now + LEAD if dearer else now

    def _rates(self, model: str, now: int) -> Iterator[tuple[Fraction, Fraction]]:
        for at in [now, *(entry.since for entry in self.entries if now < entry.since < now + LEAD)]:
            rates = _rates(self.entries, model, at)
            if rates is not None:
                yield rates


def _rates(entries: Sequence[Written], model: str, at: int) -> tuple[Fraction, Fraction] | None:
    found = [entry for entry in entries if entry.model == model and entry.since <= at]
    return max(found, key=lambda entry: entry.since).rates if found else LISTED.get(model)


def _markup(entries: Sequence[Written], at: int) -> Fraction:
    found = [
        (entry.since, place, entry.markup)
        for place, entry in enumerate(entries)
        if not entry.model and entry.since <= at
    ]
    return max(found)[2] if found else MARKUP


def _charge(entries: Sequence[Written], lines: Sequence[UsageLine], at: int) -> int | None:
    cost = Fraction(0)
    for line in lines:
        rates = _rates(entries, line.model, at)
        amounts = (line.usage.amount("input_tokens") or 0, line.usage.amount("output_tokens") or 0)
        if not any(amounts):
            # Nothing of it was used, whatever it costs.
            continue
        if rates is None:
            return None
        cost += sum(amount * rate for amount, rate in zip(amounts, rates, strict=True))
    # A dollar for a million tokens is 1,000 nano-dollars for each.
    return round(cost * 1000 * _markup(entries, at))
