"""Messages and enums as component schemas, in the shape that proto3 JSON gives them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from buf.validate.validate_pb2 import IGNORE_ALWAYS, FieldRules
from tools.openapi import contract as declared
from tools.openapi import rule
from tools.openapi.contract import Contract, ContractError
from tools.openapi.rule import Schema

_SIGNED = {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"}
_UNSIGNED = {"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$"}
_INT32 = {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}
_UINT32 = {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**32 - 1}

# 64-bit integers are text in proto3 JSON, because JavaScript's numbers cannot hold them.
SCALARS: dict[int, Schema] = {
    FieldDescriptorProto.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptorProto.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptorProto.TYPE_INT64: _SIGNED,
    FieldDescriptorProto.TYPE_SINT64: _SIGNED,
    FieldDescriptorProto.TYPE_SFIXED64: _SIGNED,
    FieldDescriptorProto.TYPE_UINT64: _UNSIGNED,
    FieldDescriptorProto.TYPE_FIXED64: _UNSIGNED,
    FieldDescriptorProto.TYPE_INT32: _INT32,
    FieldDescriptorProto.TYPE_SINT32: _INT32,
    FieldDescriptorProto.TYPE_SFIXED32: _INT32,
    FieldDescriptorProto.TYPE_UINT32: _UINT32,
    FieldDescriptorProto.TYPE_FIXED32: _UINT32,
    FieldDescriptorProto.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptorProto.TYPE_STRING: {"type": "string"},
    FieldDescriptorProto.TYPE_BYTES: {"type": "string", "format": "byte"},
}

# Messages whose JSON form is fixed by proto3 JSON.
WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    "google.protobuf.Value": {},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Any": {"type": "object", "additionalProperties": True},
    "google.protobuf.Empty": {"type": "object"},
}


@dataclass(frozen=True, slots=True)
class Schemas:
    """Component schemas, added when they are first referred to.

    `requests` names the messages that a request body may hold: there an unknown field is refused. A message
    outside of it is only ever answered, with every field that has no presence written out.
    """

    contract: Contract
    requests: frozenset[str]
    components: dict[str, Schema] = field(default_factory=dict)

    def message(self, name: str, *, checked: bool = True) -> Schema:
        """A reference to the message's schema; unchecked leaves the validation rules out of it."""
        if name in WELL_KNOWN:
            return dict(WELL_KNOWN[name])
        component = name if checked else f"{name}.Unchecked"
        if component not in self.components:
            # Entered before it is built, because a message may contain itself.
            self.components[component] = {}
            self.components[component] |= self.inline(name, checked=checked)
        return _reference(component)

    def body(self, component: str, message: str, *, without: frozenset[str]) -> Schema:
        """A reference to the message's schema without the fields that the path carries."""
        if not without and component == message:
            return self.message(message)
        schema = self.inline(message, without=without)
        if self.components.setdefault(component, schema) != schema:
            raise ContractError(f"{component} has two different bodies: give one RPC one binding")
        return _reference(component)

    def inline(self, name: str, *, without: frozenset[str] = frozenset(), checked: bool = True) -> Schema:
        message = self.contract.messages[name]
        fields = [item for item in message.field if item.name not in without]
        schema: Schema = {"type": "object"}
        if description := self._message_description(name, message):
            schema["description"] = description
        if required := [item.json_name for item in fields if checked and self._required(name, item)]:
            schema["required"] = required
        schema["properties"] = {
            item.json_name: self.described(name, item, checked=checked) for item in fields
        }
        if name in self.requests:
            schema["additionalProperties"] = False
        return schema

    def described(self, owner: str, item: FieldDescriptorProto, *, checked: bool = True) -> Schema:
        """The field's schema with its comment."""
        schema = self.field(item, checked=checked)
        extra: Schema = {}
        if comment := self.contract.comment(f"{owner}.{item.name}"):
            extra["description"] = comment
        if item.options.deprecated:
            extra["deprecated"] = True
        if extra and "$ref" in schema:
            # OpenAPI 3.0 ignores what stands beside a reference.
            return {"allOf": [schema]} | extra
        return schema | extra

    def field(self, item: FieldDescriptorProto, *, checked: bool = True) -> Schema:
        """The field's schema without its comment."""
        rules = declared.field_rules(item)
        checked = checked and rules.ignore != IGNORE_ALWAYS
        narrowed = rule.keywords(rules) if checked else {}
        if item.label != FieldDescriptorProto.LABEL_REPEATED:
            return self._one(item, rules, checked=checked) | narrowed
        if entry := self._map_entry(item):
            value = entry.field[1]
            values = self._one(value, rules.map.values, checked=checked)
            values |= rule.keywords(rules.map.values) if checked else {}
            return {"type": "object", "additionalProperties": values} | narrowed
        inner = rules.repeated.items
        checked = checked and inner.ignore != IGNORE_ALWAYS
        items = self._one(item, inner, checked=checked) | (rule.keywords(inner) if checked else {})
        return {"type": "array", "items": items} | narrowed

    def _one(self, item: FieldDescriptorProto, rules: FieldRules, *, checked: bool) -> Schema:
        name = item.type_name.removeprefix(".")
        if item.type == FieldDescriptorProto.TYPE_MESSAGE:
            return self.message(name, checked=checked)
        if item.type == FieldDescriptorProto.TYPE_ENUM:
            return self._enum(name, rules if checked else None)
        if item.type not in SCALARS:
            raise ContractError(f"{item.name}: groups have no JSON form")
        return dict(SCALARS[item.type])

    def _enum(self, name: str, rules: FieldRules | None) -> Schema:
        values = self.contract.enums[name].value
        allowed, refused = rule.allowed_numbers(rules) if rules else (set(), set())
        kept = [v.name for v in values if (not allowed or v.number in allowed) and v.number not in refused]
        if len(kept) < len(values):
            return {"type": "string", "enum": kept}
        if name not in self.components:
            lines = [f"* `{value}`: {self.contract.comment(f'{name}.{value}')}" for value in kept]
            description = "\n".join([self.contract.comment(name), "", *lines])
            self.components[name] = {"type": "string", "description": description, "enum": kept}
        return _reference(name)

    def _required(self, owner: str, item: FieldDescriptorProto) -> bool:
        presence = tracks_presence(item)
        if owner in self.requests:
            return rule.is_required(declared.field_rules(item), tracks_presence=presence)
        return not presence

    def _map_entry(self, item: FieldDescriptorProto) -> DescriptorProto | None:
        entry = self.contract.messages.get(item.type_name.removeprefix("."))
        return entry if entry and entry.options.map_entry else None

    def _message_description(self, name: str, message: DescriptorProto) -> str:
        parts = [self.contract.comment(name)]
        for index, oneof in enumerate(message.oneof_decl):
            members = [f.json_name for f in message.field if _in_choice(f) and f.oneof_index == index]
            if members:
                count = "Exactly" if declared.choice_required(oneof) else "At most"
                parts.append(f"{count} one of {', '.join(f'`{member}`' for member in members)} may be set.")
        return "\n\n".join(part for part in parts if part)


def tracks_presence(item: FieldDescriptorProto) -> bool:
    """Whether an absent field differs from its zero value, so that an answer may leave it out."""
    if item.label == FieldDescriptorProto.LABEL_REPEATED:
        return False
    message = item.type == FieldDescriptorProto.TYPE_MESSAGE
    return message or item.proto3_optional or item.HasField("oneof_index")


def reachable(contract: Contract, roots: Iterable[str]) -> frozenset[str]:
    """The messages that the roots contain at any depth, the roots included."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found and name not in WELL_KNOWN:
            found.add(name)
            waiting.extend(_contained(contract.messages[name]))
    return frozenset(found)


def _contained(message: DescriptorProto) -> Iterator[str]:
    for item in message.field:
        if item.type == FieldDescriptorProto.TYPE_MESSAGE:
            yield item.type_name.removeprefix(".")


def _in_choice(item: FieldDescriptorProto) -> bool:
    # An `optional` field is written as a oneof of its own.
    return item.HasField("oneof_index") and not item.proto3_optional


def _reference(component: str) -> Schema:
    return {"$ref": f"#/components/schemas/{component}"}
