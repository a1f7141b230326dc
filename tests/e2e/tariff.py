"""What a call costs, worked out on paper: the catalogue's printed price times what was consumed.

Shares nothing with the code that rates: it reads the data file itself and calculates with decimals.
"""

from __future__ import annotations

import json
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CATALOGUE = Path(__file__).parents[2] / "server/om_server/rating/data/catalogue.json"
_NANO = 10**9
_MILLION = 10**6
_CREDITS_PER_DOLLAR = 1_000
_CHARACTERS_PER_TOKEN = 4

#: Anthropic has one price for writing to its cache for five minutes, and the file leaves the minutes out.
_FILED_AS = {"cache_write_5m_tokens": "cache_write_tokens"}
#: Part of the output, which is charged already.
_INFORMATION = frozenset({"reasoning_tokens"})


def tokens(text: str) -> int:
    """Count as the simulator does: a token is four characters."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def cost_nanos(provider: str, priced_model: str, usage: Mapping[str, int]) -> int:
    """Give the cost in nano-dollars."""
    return _rounded(_dollars(provider, priced_model, usage))


def charge_nanos(provider: str, priced_model: str, usage: Mapping[str, int]) -> int:
    """Give the charge in nano-credits under the default of 1,000 credits a dollar."""
    return _rounded(_dollars(provider, priced_model, usage) * _CREDITS_PER_DOLLAR)


def _dollars(provider: str, priced_model: str, usage: Mapping[str, int]) -> Decimal:
    rates = _standard_rates(provider, priced_model)
    charged = {unit: amount for unit, amount in usage.items() if unit not in _INFORMATION}
    return sum(
        (amount * Decimal(rates[_FILED_AS.get(unit, unit)]) / _MILLION for unit, amount in charged.items()),
        Decimal(0),
    )


def _standard_rates(provider: str, priced_model: str) -> dict[str, str]:
    """Find the dollars for a million of each unit."""
    catalogue = json.loads(_CATALOGUE.read_text())
    (model,) = (
        model
        for model in catalogue["models"]
        if (model["provider"], model["model"]) == (provider, priced_model)
    )
    (price,) = (price for price in model["prices"] if price["tier"] == "standard")
    rates: dict[str, str] = price["rates"]
    return rates


def _rounded(amount: Decimal) -> int:
    return int((amount * _NANO).to_integral_value(ROUND_HALF_EVEN))
