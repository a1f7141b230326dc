"""What is counted and summed of usage: the values of one row of rollups. Pure."""

from typing import TypeAlias, TypeVar

from om_server.core.value import value_type

#: The values of counters in the order of their fields.
Numbers: TypeAlias = tuple[int, int, int, int, int, int]


@value_type(frozen=True, slots=True)
class Counters:
    """Counts of events, cost in nano-dollars and charge in nano-credits. Unrated money is in neither."""

    event_count: int = 0
    unrated_count: int = 0
    estimated_count: int = 0
    unknown_count: int = 0
    cost: int = 0
    charge: int = 0

    @property
    def numbers(self) -> Numbers:
        """The values in the order of the fields."""
        return (
            self.event_count,
            self.unrated_count,
            self.estimated_count,
            self.unknown_count,
            self.cost,
            self.charge,
        )

    def __add__(self, other: "Counters") -> "Counters":
        return Counters(
            self.event_count + other.event_count,
            self.unrated_count + other.unrated_count,
            self.estimated_count + other.estimated_count,
            self.unknown_count + other.unknown_count,
            self.cost + other.cost,
            self.charge + other.charge,
        )

    def __neg__(self) -> "Counters":
        return Counters(*(-number for number in self.numbers))


@value_type(frozen=True, slots=True)
class QuantitySum:
    """A sum of what is known of one unit, and how much of it is estimated."""

    amount: int = 0
    estimated_amount: int = 0

    def __add__(self, other: "QuantitySum") -> "QuantitySum":
        return QuantitySum(self.amount + other.amount, self.estimated_amount + other.estimated_amount)

    def __neg__(self) -> "QuantitySum":
        return QuantitySum(-self.amount, -self.estimated_amount)


_Key = TypeVar("_Key")
_Addable = TypeVar("_Addable", Counters, QuantitySum)


def accumulate(sums: dict[_Key, _Addable], key: _Key, *, addend: _Addable) -> None:
    """Add to what is under a key, or put it there."""
    before = sums.get(key)
    sums[key] = addend if before is None else before + addend
