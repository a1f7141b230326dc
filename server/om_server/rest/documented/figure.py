"""How the published API writes numbers. Amounts come in nano-units and stay exact until they are text."""

from decimal import ROUND_HALF_UP, Decimal

_NANO_DIGITS = 9


def exact(nanos: int) -> Decimal:
    """The amount as a number: 9992500000000 is 9992.5. Serialized as an exact JSON number."""
    value = Decimal(nanos).scaleb(-_NANO_DIGITS)
    return value.to_integral_value() if value == value.to_integral_value() else value.normalize()


def exact_text(nanos: int) -> str:
    """The amount as plain decimal text without trailing zeros: 10000, 9992.5."""
    return format(exact(nanos), "f")


def fixed_text(nanos: int, places: int) -> str:
    """The amount with exactly so many decimals, ties away from zero as JavaScript's toFixed shows them."""
    value = Decimal(nanos).scaleb(-_NANO_DIGITS)
    return format(value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP), "f")


def percentage(part: int, whole: int) -> Decimal:
    """The share in percent with two decimals; 0 of nothing."""
    if not whole:
        return Decimal(0)
    return (Decimal(100 * part) / Decimal(whole)).quantize(Decimal("0.01")).normalize() + 0
