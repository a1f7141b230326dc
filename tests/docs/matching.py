"""Compares what a document shows with what was printed.

`...` stands for anything: in a line, as a whole line for any lines, as a JSON value or name.
"""

from __future__ import annotations

import json
import re

ANYTHING = "..."


def mismatch(language: str, expected: str, actual: str) -> str:
    """What differs; empty if nothing does."""
    if language == "json":
        try:
            found = json.loads(actual)
        except ValueError:
            return f"not JSON: {actual!r}"
        return _compare(json.loads(expected), found, "$")
    pattern = "".join(_line_pattern(line) for line in _lines(expected))
    shown = "".join(f"{line}\n" for line in _lines(actual))
    return "" if re.fullmatch(pattern, shown) else f"expected\n{expected}\nfound\n{actual}"


def _lines(text: str) -> list[str]:
    """The lines, with columns that are as wide as their longest value brought together."""
    return [" ".join(line.split()) for line in text.strip().splitlines()]


def _line_pattern(line: str) -> str:
    if line == ANYTHING:
        return r"(?:.*\n)*?"
    return ".*".join(re.escape(part) for part in line.split(ANYTHING)) + r"\n"


def _compare(expected: object, found: object, where: str) -> str:
    if expected == ANYTHING:
        return ""
    if isinstance(expected, dict) and isinstance(found, dict):
        return _compare_objects(expected, found, where)
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return next(filter(None, (_compare(*pair, f"{where}[{at}]") for at, pair in pairs)), "")
    return "" if expected == found else f"{where}: expected {expected!r}, found {found!r}"


def _compare_objects(expected: dict[str, object], found: dict[str, object], where: str) -> str:
    """Compare by name. A name `...` says that there are more."""
    names = expected.keys() - {ANYTHING}
    if missing := names - found.keys():
        return f"{where}: {sorted(missing)} missing in {found!r}"
    if ANYTHING not in expected and (extra := found.keys() - names):
        return f"{where}: {sorted(extra)} not shown"
    parts = (_compare(expected[name], found[name], f"{where}.{name}") for name in sorted(names))
    return next(filter(None, parts), "")
