"""Rates and rules as they are stored: JSON text, the same for equal rules, read back exactly."""

import json
from collections.abc import Sequence

from om_server.rating.burn_table import BurnRule
from om_server.rating.unit_rate import Rate


def write_rates(rates: Sequence[Rate]) -> str:
    """Write rates in their order."""
    return _dump([_rate_fields(rate) for rate in rates])


def read_rates(text: str) -> tuple[Rate, ...]:
    """Read rates that `write_rates` wrote."""
    return _rates(json.loads(text))


def write_rules(rules: Sequence[BurnRule]) -> str:
    """Write rules in their order, without what is compiled of them."""
    return _dump(
        [
            {
                "feature": rule.feature_id,
                "provider": rule.provider,
                "model": rule.model_pattern,
                "credits_per_cost": rule.credits_per_cost,
                "rates": [_rate_fields(rate) for rate in rule.rates],
                "flat": rule.flat_nanos,
                "minimum": rule.minimum_nanos,
                "free": list(rule.free_units),
                "cached_answer": rule.cached_answer_nanos,
            }
            for rule in rules
        ]
    )


def read_rules(text: str) -> tuple[BurnRule, ...]:
    """Read rules that `write_rules` wrote."""
    return tuple(
        BurnRule(
            feature_id=fields["feature"],
            provider=fields["provider"],
            model_pattern=fields["model"],
            credits_per_cost=fields["credits_per_cost"],
            rates=_rates(fields["rates"]),
            flat_nanos=fields["flat"],
            minimum_nanos=fields["minimum"],
            free_units=tuple((unit, amount) for unit, amount in fields["free"]),
            cached_answer_nanos=fields["cached_answer"],
        )
        for fields in json.loads(text)
    )


def _rate_fields(rate: Rate) -> list[object]:
    fields: list[object] = [rate.unit, rate.price, rate.per, list(rate.attributes), rate.context_threshold]
    # Only where there is one: the text of rules without tiers never changes.
    return [*fields, rate.quantity_threshold] if rate.quantity_threshold else fields


def _rates(
    rows: list[tuple[str, str, int, list[tuple[str, str]], *tuple[int, ...]]],
) -> tuple[Rate, ...]:
    return tuple(
        Rate(unit, price, per, tuple((name, value) for name, value in attributes), *thresholds)
        for unit, price, per, attributes, *thresholds in rows
    )


def _dump(fields: object) -> str:
    return json.dumps(fields, separators=(",", ":"), sort_keys=True)
