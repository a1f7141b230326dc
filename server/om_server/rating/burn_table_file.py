"""`burntable.json`: the burn tables of an organization as a file, read with every flaw at its path.

    {"format": 1, "currency": "CREDITS", "tables": [{
      "name": "Autumn 2026", "customer": "acme", "from": "2026-12-01T00:00:00Z",
      "rules": [
        {"feature": "search", "flat": "2", "cached_answer": "0.5"},
        {"provider": "openai", "model": "gpt-4*", "credits_per_dollar": "1200", "minimum": "1"},
        {"model": "dall-e-3", "free": {"images": 1},
         "rates": {"images": [{"price": "40", "per": 1, "when": {"quality": "standard"}},
                              {"price": "80", "per": 1, "when": {"quality": "hd"}}]}},
        {"provider": "google", "rates": {"output_tokens": "12",
                                         "input_tokens": {"price": "2", "above": {"200000": "4"}}}},
        {"feature": "batch", "rates": {"requests": {"price": "5", "per": 1, "beyond": {"100": "4"}}}}]}]}

A file needs `format`, `currency` and `tables`, a table `name` and `rules`. A table without `customer` is the
organization's; without `from` it applies as soon as it may. Amounts are decimal text in credits; a rate is
for a million steps of its unit where `per` says nothing else. `above` reprices a line by the tokens of its
prompt; `beyond` prices the steps of the unit behind so many of them in one event. The first rule that
matches decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from om_server.core.money import CREDITS
from om_server.core.usage import QUANTITY_MAX
from om_server.rating.burn_rules import RateDraft, RuleDraft, compile_rules, find_flaws
from om_server.rating.flaw import FlawKind, RulesInvalid
from om_server.rating.json_reader import JsonReader, parse_json
from om_server.rating.stored import BurnTableDraft
from om_server.rating.unit_rate import PER_MILLION

FORMAT = 1

_FILE_FIELDS = frozenset({"format", "currency", "tables"})
_TABLE_FIELDS = frozenset({"name", "customer", "from", "rules"})
_RULE_FIELDS = frozenset(
    {"feature", "provider", "model", "credits_per_dollar", "rates"}
    | {"flat", "minimum", "free", "cached_answer"}
)
_RATE_FIELDS = frozenset({"price", "per", "when", "above", "beyond"})


@dataclass(frozen=True, slots=True)
class FiledTable:
    """A table of a file, and from when it is wished to apply; None is as soon as it may."""

    draft: BurnTableDraft
    effective_time: int | None


def read_burn_tables(text: str) -> tuple[FiledTable, ...]:
    """Read a file; RulesInvalid has every flaw with its path."""
    reader = JsonReader()
    fields = reader.fields(parse_json(text), "$", known=_FILE_FIELDS)
    if type(fields.get("format")) is not int or fields["format"] != FORMAT:
        reader.refuse("$.format", f"this server reads format {FORMAT}")
    if fields.get("currency") != CREDITS:
        reader.refuse("$.currency", f"burn tables charge in {CREDITS}", FlawKind.CURRENCY)
    read = [_read_table(reader, raw, place) for raw, place in reader.items(fields.get("tables"), "$.tables")]
    customers = [customer for _, customer, _, _ in read]
    for index, customer in enumerate(customers):
        if customer in customers[:index]:
            reader.refuse(f"$.tables[{index}]", "a second table for the same customer", FlawKind.TABLE_TWICE)
    if reader.flaws:
        raise RulesInvalid(reader.flaws)
    return tuple(
        FiledTable(BurnTableDraft(name, compile_rules(rules), customer), time)
        for name, customer, time, rules in read
    )


def _read_table(reader: JsonReader, raw: object, place: str) -> tuple[str, str, int | None, list[RuleDraft]]:
    fields = reader.fields(raw, place, known=_TABLE_FIELDS)
    rules = [
        _read_rule(reader, rule, path) for rule, path in reader.items(fields.get("rules"), f"{place}.rules")
    ]
    reader.flaws.extend(find_flaws(rules, place=f"{place}.rules"))
    name = reader.text(fields, "name", place, needed=True)
    return name, reader.text(fields, "customer", place), _read_time(reader, fields, place), rules


def _read_time(reader: JsonReader, fields: dict[str, object], place: str) -> int | None:
    if "from" not in fields:
        return None
    try:
        time = datetime.fromisoformat(reader.text(fields, "from", place))
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        reader.refuse(f"{place}.from", "not a time with its zone, such as 2026-12-01T00:00:00Z")
        return None
    return int(time.astimezone(UTC).timestamp()) * 1_000_000


def _read_rule(reader: JsonReader, raw: object, place: str) -> RuleDraft:
    fields = reader.fields(raw, place, known=_RULE_FIELDS)
    free = reader.fields(fields.get("free", {}), f"{place}.free")
    return RuleDraft(
        feature_id=reader.text(fields, "feature", place),
        provider=reader.text(fields, "provider", place),
        model_pattern=reader.text(fields, "model", place),
        credits_per_cost=reader.text(fields, "credits_per_dollar", place),
        rates=tuple(_read_rates(reader, fields.get("rates", {}), place)),
        flat_nanos=reader.credits(fields, "flat", place) or 0,
        minimum_nanos=reader.credits(fields, "minimum", place) or 0,
        free_units=tuple((unit, reader.count(raw, f"{place}.free.{unit}")) for unit, raw in free.items()),
        cached_answer_nanos=reader.credits(fields, "cached_answer", place),
    )


def _read_rates(reader: JsonReader, raw: object, place: str) -> Iterator[RateDraft]:
    for unit, value in reader.fields(raw, f"{place}.rates").items():
        path = f"{place}.rates.{unit}"
        variants = reader.items(value, path) if isinstance(value, list) else [(value, path)]
        for variant, where in variants:
            written = {"price": variant} if isinstance(variant, str) else variant
            fields = reader.fields(written, where, known=_RATE_FIELDS)
            inner = where.removeprefix(f"{place}.")
            per = reader.count(fields.get("per", PER_MILLION), f"{where}.per")
            when = reader.fields(fields.get("when", {}), f"{where}.when")
            attributes = tuple((name, reader.text(when, name, f"{where}.when")) for name in sorted(when))
            yield RateDraft(unit, reader.text(fields, "price", where), per, attributes, place=inner)
            for threshold, price in _read_thresholds(reader, fields, where, name="above"):
                at = f"{inner}.above.{threshold}"
                yield RateDraft(unit, price, per, attributes, threshold, at)
            for threshold, price in _read_thresholds(reader, fields, where, name="beyond"):
                at = f"{inner}.beyond.{threshold}"
                yield RateDraft(unit, price, per, attributes, place=at, quantity_threshold=threshold)


def _read_thresholds(
    reader: JsonReader, fields: dict[str, object], place: str, *, name: str
) -> Iterator[tuple[int, str]]:
    prices = reader.fields(fields.get(name, {}), f"{place}.{name}")
    for threshold in prices:
        if not (threshold.isascii() and threshold.isdecimal() and 0 < int(threshold) <= QUANTITY_MAX):
            reader.refuse(f"{place}.{name}.{threshold}", "not a positive whole number")
            continue
        yield int(threshold), reader.text(prices, threshold, f"{place}.{name}")
