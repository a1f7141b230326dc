"""Structs of the contract as JSON text, which is how they are stored."""

import math

import orjson
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from om_server.core.errors import InvalidArgument

# Above, a double no longer holds every integer.
_INTEGER_MAX = 2**53


def struct_from_proto(struct: Struct, field: str) -> str:
    """Return JSON text in one canonical form, so that equal structs have equal text."""
    if not struct.fields:
        return "{}"
    document = {name: _json_from_proto(value, field) for name, value in struct.fields.items()}
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()


def struct_to_proto(text: str) -> Struct:
    struct = Struct()
    struct.update(orjson.loads(text))
    return struct


def _json_from_proto(value: Value, field: str) -> object:
    # Not json_format: it is twenty times slower, and this runs for every event.
    match value.WhichOneof("kind"):
        case "struct_value":
            return {name: _json_from_proto(item, field) for name, item in value.struct_value.fields.items()}
        case "list_value":
            return _list_from_proto(value.list_value, field)
        case "number_value":
            return _number(value.number_value, field)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _list_from_proto(items: ListValue, field: str) -> list[object]:
    return [_json_from_proto(item, field) for item in items.values]


def _number(number: float, field: str) -> int | float:
    if not math.isfinite(number):
        raise InvalidArgument(field, "numbers must be finite")
    return int(number) if number.is_integer() and abs(number) <= _INTEGER_MAX else number
