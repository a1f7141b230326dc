"""What can be wrong with rules or prices that somebody wrote: a designed list, each with its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from om_server.rating.unit_rate import PriceInvalid


class FlawKind(StrEnum):
    """The rules of the format, in the order in which they are checked."""

    #: The document does not have the shape that its format describes.
    FORMAT = "FORMAT"
    #: Two tables of one file are for the same customer.
    TABLE_TWICE = "TABLE_TWICE"
    #: Rates are in another currency than the one that they are charged or summed in.
    CURRENCY = "CURRENCY"
    UNIT_UNKNOWN = "UNIT_UNKNOWN"
    #: The unit is counted in another one already, so that a rate would charge it twice.
    UNIT_INFORMATIONAL = "UNIT_INFORMATIONAL"
    NEGATIVE = "NEGATIVE"
    #: No plain decimal of at most 12 and 18 digits.
    NOT_DECIMAL = "NOT_DECIMAL"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    #: One unit, with the same attributes, has two rates above the same prompt size or quantity.
    OVERLAP = "OVERLAP"
    #: A rate above a prompt size or a quantity and none below it.
    GAP = "GAP"
    #: Rates by quantity that depend on something else too, or that are not of a burn table.
    TIERS = "TIERS"
    #: Rates of one unit depend on different attributes, so that a line could match two.
    ATTRIBUTES = "ATTRIBUTES"
    #: The rule charges neither by cost nor by unit nor by event.
    EMPTY = "EMPTY"
    #: Free steps of a unit for which the rule has no rate.
    FREE_UNRATED = "FREE_UNRATED"
    #: A rule before it decides every line that this one could.
    UNREACHABLE = "UNREACHABLE"


@dataclass(frozen=True, slots=True)
class Flaw:
    """One broken rule. The place is a path such as `rules[2].rates.images`."""

    kind: FlawKind
    place: str
    description: str

    def __str__(self) -> str:
        return f"{self.place}: {self.description}"


class RulesInvalid(PriceInvalid):
    """Rules or prices break rules of their format. The first flaw names the field; all are kept."""

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        self.flaws = tuple(flaws)
        first, more = self.flaws[0], len(self.flaws) - 1
        text = f"{first.description} ({first.kind})"
        super().__init__(first.place, f"{text}, and {more} more" if more else text)
