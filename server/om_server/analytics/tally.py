"""Sums of many addends, in plain numbers: a value made for each would take most of the time. Pure."""

from collections.abc import Mapping

from om_server.analytics.counters import Counters, QuantitySum
from om_server.analytics.rollup import QuantityKey, RollupDelta, RollupKey
from om_server.analytics.series import Series


class TallyRow:
    """One row of counters, if anything was counted, and its quantities."""

    __slots__ = ("numbers", "quantities")

    def __init__(self) -> None:
        self.numbers: list[int] | None = None
        #: Amount and estimated amount by unit.
        self.quantities: dict[str, list[int]] = {}

    def count(self, numbers: tuple[int, ...]) -> None:
        """Add counters, in the order of their fields."""
        if self.numbers is None:
            self.numbers = list(numbers)
            return
        for index, number in enumerate(numbers):
            self.numbers[index] += number

    def measure(self, unit: str, amount: int, estimated: int) -> None:
        """Add what is known of a unit, and how much of it is estimated."""
        amounts = self.quantities.get(unit)
        if amounts is None:
            self.quantities[unit] = [amount, estimated]
        else:
            amounts[0] += amount
            amounts[1] += estimated


class Tally:
    """Rows by organization, time, tag and series."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[tuple[str, int, str, str], TallyRow] = {}

    def row(self, key: tuple[str, int, str, str]) -> TallyRow:
        """Return the row to add to."""
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = TallyRow()
        return row

    def delta(self, series: Mapping[tuple[str, str], Series]) -> RollupDelta:
        """Return the sums, which are of these series."""
        counters: dict[RollupKey, Counters] = {}
        quantities: dict[QuantityKey, QuantitySum] = {}
        for key, row in self._rows.items():
            if row.numbers is not None:
                counters[RollupKey(*key)] = Counters(*row.numbers)
            for unit, amounts in row.quantities.items():
                quantities[QuantityKey(*key, unit)] = QuantitySum(*amounts)
        return RollupDelta(series, counters, quantities)
