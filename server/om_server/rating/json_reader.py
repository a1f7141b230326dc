"""Reads parsed JSON field by field and notes every flaw at its path, instead of stopping at the first."""

import json
from collections.abc import Iterator, Mapping

from om_server.core.errors import DomainError
from om_server.core.money import CREDITS, Money
from om_server.rating.flaw import Flaw, FlawKind, RulesInvalid


class JsonReader:
    """Typed access to parsed JSON. What is wrong becomes a flaw and reads as empty."""

    def __init__(self) -> None:
        self.flaws: list[Flaw] = []

    def refuse(self, place: str, description: str, kind: FlawKind = FlawKind.FORMAT) -> None:
        """Note a flaw."""
        self.flaws.append(Flaw(kind, place, description))

    def fields(self, raw: object, place: str, *, known: frozenset[str] | None = None) -> dict[str, object]:
        """Read an object. A field that is not known is a flaw: it would be ignored without a word."""
        if not isinstance(raw, dict):
            self.refuse(place, "not an object")
            return {}
        for name in sorted(set(raw) - known) if known is not None else ():
            self.refuse(f"{place}.{name}", "an unknown field")
        return raw

    def items(self, raw: object, place: str) -> Iterator[tuple[object, str]]:
        """Yield the elements of a list with their paths."""
        if not isinstance(raw, list):
            self.refuse(place, "not a list")
            return
        for index, item in enumerate(raw):
            yield item, f"{place}[{index}]"

    def text(self, fields: Mapping[str, object], name: str, place: str, *, needed: bool = False) -> str:
        """Read a text; empty where it is absent."""
        raw = fields.get(name, "")
        if not isinstance(raw, str) or (needed and not raw):
            self.refuse(f"{place}.{name}", "not a text, or empty")
            return ""
        return raw

    def count(self, raw: object, place: str) -> int:
        """Read a positive whole number; 1 in its place where it is none."""
        if type(raw) is not int or raw < 1:
            self.refuse(place, "not a positive whole number")
            return 1
        return raw

    def credits(self, fields: Mapping[str, object], name: str, place: str) -> int | None:
        """Read decimal text in credits as nano-credits; None where it is absent."""
        if name not in fields:
            return None
        raw = fields[name]
        try:
            return Money.parse(raw if isinstance(raw, str) else "", CREDITS).nanos
        except DomainError:
            self.refuse(f"{place}.{name}", "not credits as decimal text", FlawKind.NOT_DECIMAL)
            return None


def parse_json(text: str) -> object:
    """Parse JSON; RulesInvalid where it is none, or where an object names a field twice."""
    try:
        return json.loads(text, object_pairs_hook=_named_once)
    except (json.JSONDecodeError, RecursionError) as error:
        line = f"line {error.lineno}" if isinstance(error, json.JSONDecodeError) else "$"
        raise RulesInvalid([Flaw(FlawKind.FORMAT, line, "not JSON")]) from error


def _named_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object of its fields. JSON would quietly keep the last of two rates for a unit."""
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RulesInvalid([Flaw(FlawKind.FORMAT, twice, "one object names this field twice")])
    return made
