"""Protovalidate rules as the JSON Schema keywords of OpenAPI 3.0, so that REST refuses what gRPC refuses.

What OpenAPI cannot say (CEL, durations, not_in of numbers) is left out: the server still checks it.
"""

import re
from typing import Any, TypeAlias

from google.protobuf.message import Message

from buf.validate.validate_pb2 import (
    IGNORE_ALWAYS,
    IGNORE_IF_ZERO_VALUE,
    BytesRules,
    FieldRules,
    MapRules,
    RepeatedRules,
    StringRules,
)

Schema: TypeAlias = dict[str, Any]

# Rules that name a format that OpenAPI knows too.
FORMATS = {
    "email": "email",
    "hostname": "hostname",
    "ipv4": "ipv4",
    "ipv6": "ipv6",
    "uri": "uri",
    "uuid": "uuid",
}
INTEGERS_AS_TEXT = frozenset({"int64", "uint64", "sint64", "fixed64", "sfixed64"})
NUMBERS = INTEGERS_AS_TEXT | {"int32", "uint32", "sint32", "fixed32", "sfixed32", "float", "double"}


def keywords(rules: FieldRules) -> Schema:
    """The keywords that narrow the schema of the field's type; empty where no rule applies."""
    if rules.ignore == IGNORE_ALWAYS:
        return {}
    kind = rules.WhichOneof("type")
    if rules.ignore == IGNORE_IF_ZERO_VALUE and refuses_zero(rules):
        # Absent and zero are the same, and allowed: no keyword may refuse the zero.
        return {}
    match kind:
        case "string":
            return _string(rules.string)
        case "bytes":
            return _bytes(rules.bytes)
        case "repeated":
            return _repeated(rules.repeated)
        case "map":
            return _map(rules.map)
        case _ if kind in INTEGERS_AS_TEXT:
            return _integer_text(getattr(rules, kind))
        case _ if kind in NUMBERS:
            return _number(getattr(rules, kind))
    return {}


def is_required(rules: FieldRules, *, tracks_presence: bool) -> bool:
    """Whether leaving the field out is refused.

    A field without presence that is left out has its zero value, so a rule against zero requires it.
    """
    if rules.ignore == IGNORE_ALWAYS:
        return False
    if rules.required:
        return True
    return not tracks_presence and rules.ignore != IGNORE_IF_ZERO_VALUE and refuses_zero(rules)


def refuses_zero(rules: FieldRules) -> bool:
    """Whether the type's zero value ("" or 0 or an empty list) breaks a rule."""
    kind = rules.WhichOneof("type")
    match kind:
        case "string":
            return _refuses_empty_text(rules.string)
        case "bytes":
            return bool(rules.bytes.min_len or rules.bytes.len)
        case "repeated":
            return bool(rules.repeated.min_items)
        case "map":
            return bool(rules.map.min_pairs)
        case "bool":
            return rules.bool.const
        case "enum":
            return _refuses_zero_number(rules.enum)
        case _ if kind in NUMBERS:
            return _refuses_zero_number(getattr(rules, kind))
    return False


def allowed_numbers(rules: FieldRules) -> tuple[set[int], set[int]]:
    """The enum numbers that `in` or `const` allow (empty: all) and those that `not_in` refuses."""
    enum = rules.enum
    allowed = set(getattr(enum, "in")) | ({enum.const} if enum.HasField("const") else set())
    return allowed, set(enum.not_in)


def _string(rules: StringRules) -> Schema:
    found: Schema = {}
    if rules.HasField("len"):
        found |= {"minLength": rules.len, "maxLength": rules.len}
    if rules.HasField("min_len"):
        found["minLength"] = rules.min_len
    longest = [getattr(rules, name) for name in ("max_len", "max_bytes") if rules.HasField(name)]
    if longest:
        # A character is at least one byte, so a limit in bytes is a limit in characters too.
        found["maxLength"] = min(longest)
    if patterns := _patterns(rules):
        found["pattern"] = (
            patterns[0] if len(patterns) == 1 else "".join(f"(?=[\\s\\S]*{p})" for p in patterns)
        )
    if choices := [*getattr(rules, "in"), *([rules.const] if rules.HasField("const") else [])]:
        found["enum"] = choices
    if rules.not_in:
        found["not"] = {"enum": list(rules.not_in)}
    known = rules.WhichOneof("well_known")
    if known in FORMATS:
        found["format"] = FORMATS[known]
    return found


def _patterns(rules: StringRules) -> list[str]:
    found = [rules.pattern] if rules.HasField("pattern") else []
    if rules.HasField("prefix"):
        found.append(f"^{re.escape(rules.prefix)}")
    if rules.HasField("suffix"):
        found.append(f"{re.escape(rules.suffix)}$")
    if rules.HasField("contains"):
        found.append(re.escape(rules.contains))
    return found


def _refuses_empty_text(rules: StringRules) -> bool:
    choices = getattr(rules, "in")
    return (
        bool(rules.min_len or rules.len or rules.min_bytes or rules.len_bytes)
        or any(re.search(pattern, "") is None for pattern in _patterns(rules))
        or bool(rules.const)
        or (bool(choices) and "" not in choices)
        or "" in rules.not_in
        or rules.WhichOneof("well_known") is not None
    )


def _bytes(rules: BytesRules) -> Schema:
    # Base64 writes three bytes as four characters, and may leave the padding out.
    if rules.HasField("max_len"):
        return {"maxLength": (rules.max_len + 2) // 3 * 4}
    return {}


def _repeated(rules: RepeatedRules) -> Schema:
    found: Schema = {}
    if rules.HasField("min_items"):
        found["minItems"] = rules.min_items
    if rules.HasField("max_items"):
        found["maxItems"] = rules.max_items
    if rules.unique:
        found["uniqueItems"] = True
    return found


def _map(rules: MapRules) -> Schema:
    found: Schema = {}
    if rules.HasField("min_pairs"):
        found["minProperties"] = rules.min_pairs
    if rules.HasField("max_pairs"):
        found["maxProperties"] = rules.max_pairs
    return found


def _number(rules: Message) -> Schema:
    found: Schema = {}
    lower, upper = rules.WhichOneof("greater_than"), rules.WhichOneof("less_than")
    if lower and upper and getattr(rules, lower) > getattr(rules, upper):
        # Such a pair means "outside of the range", which these keywords cannot say.
        return found
    if lower:
        found["minimum"] = getattr(rules, lower)
        if lower == "gt":
            # JSON Schema draft 4, and so OpenAPI 3.0, writes this as a flag.
            found["exclusiveMinimum"] = True
    if upper:
        found["maximum"] = getattr(rules, upper)
        if upper == "lt":
            found["exclusiveMaximum"] = True
    if choices := _choices(rules):
        found["enum"] = choices
    return found


def _integer_text(rules: Message) -> Schema:
    """Bounds of a 64-bit integer, which JSON carries as text: a pattern for the sign, words for the rest."""
    found: Schema = {}
    if choices := _choices(rules):
        return {"enum": [str(choice) for choice in choices]}
    bounds = _number(rules)
    if "minimum" in bounds:
        least = bounds["minimum"] + bool(bounds.get("exclusiveMinimum"))
        found["x-minimum"] = str(least)
        if least >= 0:
            found["pattern"] = "^[0-9]{1,20}$" if least == 0 else "^[1-9][0-9]{0,19}$"
    if "maximum" in bounds:
        found["x-maximum"] = str(bounds["maximum"] - bool(bounds.get("exclusiveMaximum")))
    return found


def _refuses_zero_number(rules: Message) -> bool:
    bounds = _number(rules) if "gt" in rules.DESCRIPTOR.fields_by_name else {}
    below = bounds.get("minimum", 0) > 0 or ("exclusiveMinimum" in bounds and bounds["minimum"] >= 0)
    above = bounds.get("maximum", 0) < 0 or ("exclusiveMaximum" in bounds and bounds["maximum"] <= 0)
    choices = _choices(rules)
    return below or above or (bool(choices) and 0 not in choices) or 0 in getattr(rules, "not_in", ())


def _choices(rules: Any) -> list[int | float]:  # noqa: ANN401 - Fourteen generated classes with equal fields.
    const = [rules.const] if rules.HasField("const") else []
    return [*getattr(rules, "in"), *const]
