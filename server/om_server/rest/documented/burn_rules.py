"""The published rules of a burn table, by model, as rules of the contract and back.

A rule charges credits for tokens (`inputTokens`, `outputTokens`, for each `perUnit`) or for whatever is
counted (`flatRate`). Both spellings of a name are read, and camelCase is written.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from om.rating.v1 import rating_service_pb2 as pb
from om_server.core.usage import find_unit
from om_server.rest.documented.consumption import INPUT_UNITS, OUTPUT_UNITS
from om_server.rest.documented.json_body import JsonBody

#: The rule for every model that has none of its own.
DEFAULT_RULE = "default"
#: Published: a rule that names no perUnit means a thousand tokens. Rules are shown so, too.
PER_UNIT = 1000
_MILLION = 1_000_000
_MODEL_MAX = 255
#: What a flat rate counts: pieces and calls, and seconds of what has a length.
_COUNTED_UNITS = ("images", "requests", "video_seconds", "audio_seconds")
#: What the contract takes as a rate.
_RATE = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")


def read_rules(body: JsonBody, *, required: bool) -> list[pb.BurnRule]:
    """The body's `rules`, the default rule last. Problems are noted in the body."""
    rules = body.mapping("rules", required=required) or {}
    named = [model for model in rules if model != DEFAULT_RULE]
    ordered = [*named, *([DEFAULT_RULE] if DEFAULT_RULE in rules else [])]
    table = body.nested("rules") if rules else body
    return [rule for model in ordered for rule in _read_rule(model, rules[model], table)]


def _read_rule(model: str, value: object, table: JsonBody) -> Iterator[pb.BurnRule]:
    if not model or len(model) > _MODEL_MAX or not isinstance(value, dict):
        table.refuse(model, "Invalid input: expected object with the rates of a model")
        return
    rule = table.inside(model, value)
    pattern = "" if model == DEFAULT_RULE else model
    if rule.given("flatRate"):
        yield pb.BurnRule(model_pattern=pattern, rates=_flat_rates(rule))
    else:
        yield pb.BurnRule(model_pattern=pattern, rates=_token_rates(rule))


def _token_rates(rule: JsonBody) -> list[pb.PriceRate]:
    """Whatever goes in has the rate of the input, cached or not, and likewise what comes out."""
    per_unit = rule.number("perUnit", above=0) or Decimal(PER_UNIT)
    rates: list[pb.PriceRate] = []
    for name, units in (("inputTokens", INPUT_UNITS), ("outputTokens", OUTPUT_UNITS)):
        number = rule.number(name, required=True, least=0)
        text = _rate_text(rule, name, (number or Decimal(0)) * _MILLION / per_unit)
        rates.extend(pb.PriceRate(unit=unit, amount_per_million=text) for unit in sorted(units))
    return rates


def _flat_rates(rule: JsonBody) -> list[pb.PriceRate]:
    number = rule.number("flatRate", least=0) or Decimal(0)
    per_unit = rule.number("perUnit", above=0) or Decimal(1)
    return [
        pb.PriceRate(
            unit=unit,
            amount_per_million=_rate_text(
                rule, "flatRate", number / per_unit * _MILLION / find_unit(unit).step
            ),
        )
        for unit in _COUNTED_UNITS
    ]


def _rate_text(rule: JsonBody, name: str, rate: Decimal) -> str:
    text = format(_plain(rate), "f")
    if not _RATE.fullmatch(text):
        rule.refuse(name, "Invalid input: not a rate of at most 12 decimals for a million")
        return "0"
    return text


def rules_body(rules: Sequence[pb.BurnRule]) -> dict[str, object]:
    """The published rules. What a rule has beside tokens and flat rates is shown under names of its own."""
    return {_name(rule): _rule_body(rule) for rule in rules}


def _name(rule: pb.BurnRule) -> str:
    selectors = (rule.feature_id, rule.provider, rule.model_pattern)
    return "/".join(selector for selector in selectors if selector) or DEFAULT_RULE


def _rule_body(rule: pb.BurnRule) -> dict[str, object]:
    rates = {rate.unit: Decimal(rate.amount_per_million) for rate in _plain_rates(rule.rates)}
    shown: dict[str, object] = {}
    if "input_tokens" in rates or "output_tokens" in rates:
        for name, unit in (("inputTokens", "input_tokens"), ("outputTokens", "output_tokens")):
            if unit in rates:
                shown[name] = _plain(rates[unit] * PER_UNIT / _MILLION)
        shown["perUnit"] = PER_UNIT
    elif "images" in rates:
        shown |= {"flatRate": _plain(rates["images"] / _MILLION), "perUnit": 1}
    if rule.credits_per_cost:
        shown["creditsPerUsd"] = _plain(Decimal(rule.credits_per_cost))
    return shown


def _plain_rates(rates: Iterable[pb.PriceRate]) -> Iterator[pb.PriceRate]:
    return (
        rate for rate in rates if not (rate.attributes or rate.context_threshold or rate.quantity_threshold)
    )


def _plain(value: Decimal) -> Decimal:
    return value.to_integral_value() if value == value.to_integral_value() else value.normalize()
