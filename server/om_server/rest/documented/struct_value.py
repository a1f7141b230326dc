"""A Struct as plain JSON values. Its JSON form by protobuf's own writer takes several times as long."""

from google.protobuf.struct_pb2 import Struct, Value

#: Beyond this a float has no units, and JSON's writer no integer.
_EXACT_MAX = 2.0**53


def plain_struct(struct: Struct) -> dict[str, object]:
    """The object; a whole number is shown without a fraction, as it was most likely sent."""
    return {name: _plain(value) for name, value in struct.fields.items()}


def _plain(value: Value) -> object:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _EXACT_MAX else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return plain_struct(value.struct_value)
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values]
    return None
