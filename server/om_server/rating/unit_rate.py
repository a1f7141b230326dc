"""The rate of one unit: decimal text for a number of steps, compiled to a fraction of nano-units.

Rates need fractions of a nano-unit: 0.0375 dollars per million tokens is 37.5 nanos each. Nothing here
rounds. A rate of zero is a rate.
"""

import math
import re
from dataclasses import dataclass, field
from fractions import Fraction

from om_server.core.errors import Code, DomainError
from om_server.core.money import NANO
from om_server.core.usage import INFORMATIONAL_UNITS, find_unit

PER_MILLION = 1_000_000

_DECIMAL = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,18}))?")


class PriceInvalid(DomainError):
    """A price, burn table or catalogue breaks a rule of its format."""

    code = Code.INVALID_ARGUMENT
    reason = "PRICE_INVALID"

    def __init__(self, field_name: str, description: str) -> None:
        super().__init__(f"{field_name}: {description}", field=field_name)
        self.field = field_name
        self.description = description


def exact_decimal(text: str, field_name: str) -> tuple[int, int]:
    """Read non-negative plain decimal text as numerator and denominator."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise PriceInvalid(field_name, "not a plain non-negative decimal of at most 12 and 18 digits")
    decimals = match[2] or ""
    return int(match[1] + decimals), 10 ** len(decimals)


@dataclass(frozen=True, slots=True)
class Rate:
    """The price of one unit: `price` for `per` steps, above a prompt size, for lines with the attributes.

    With a quantity threshold it is for the unit's steps above so many in one event, in burn tables only.
    """

    unit: str
    price: str
    per: int = PER_MILLION
    attributes: tuple[tuple[str, str], ...] = ()
    context_threshold: int = 0
    quantity_threshold: int = 0
    # Nano-units of the currency for one step, exactly.
    numerator: int = field(init=False, repr=False, compare=False)
    denominator: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        find_unit(self.unit)
        if self.unit in INFORMATIONAL_UNITS:
            raise PriceInvalid("unit", f"{self.unit} is counted in another unit and has no price")
        if self.per < 1 or self.context_threshold < 0 or self.quantity_threshold < 0:
            raise PriceInvalid("rates", f"{self.unit}: per is below 1, or a threshold below 0")
        if len(dict(self.attributes)) != len(self.attributes):
            raise PriceInvalid("attributes", f"{self.unit}: an attribute is named twice")
        top, bottom = exact_decimal(self.price, "price")
        divisor = math.gcd(top * NANO, bottom * self.per)
        object.__setattr__(self, "numerator", top * NANO // divisor)
        object.__setattr__(self, "denominator", bottom * self.per // divisor)

    @property
    def exact(self) -> Fraction:
        """Nano-units of the currency for one step."""
        return Fraction(self.numerator, self.denominator)
