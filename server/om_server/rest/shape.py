"""Whether a JSON document has the shape of a message, told field by field.

protobuf's own reader stops at the first mistake and answers in prose that lists every field of the
message. This finds all of them and names each by its path. Rules of values are the server's.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from om_server.rest.errors import FieldProblem

#: Messages whose JSON form is not an object of their fields, with the Python type that it is read as.
WELL_KNOWN: Mapping[str, type | tuple[type, ...]] = MappingProxyType(
    {
        "google.protobuf.Timestamp": str,
        "google.protobuf.Duration": str,
        "google.protobuf.FieldMask": str,
        "google.protobuf.Struct": dict,
        "google.protobuf.ListValue": list,
        "google.protobuf.Value": object,
        "google.protobuf.Any": dict,
        "google.protobuf.Empty": dict,
    }
)

_INTEGER = re.compile(r"-?[0-9]{1,20}")
_RANGES: Mapping[int, tuple[int, int]] = MappingProxyType(
    {
        FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
        FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
        FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
        FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    }
)
_JSON_NAMES: Mapping[type, str] = MappingProxyType({str: "text", dict: "an object", list: "an array"})


def find_field(message: Descriptor, name: str) -> FieldDescriptor | None:
    """The field of that JSON name; proto3 JSON also reads the name that the contract declares."""
    return message.fields_by_camelcase_name.get(name) or message.fields_by_name.get(name)


def problems(message: Descriptor, document: object, *, path: str = "") -> Iterator[FieldProblem]:
    """Everything about the document that keeps it from being read as this message."""
    if message.full_name in WELL_KNOWN:
        yield from _well_known(message.full_name, document, path=path)
        return
    if not isinstance(document, dict):
        yield FieldProblem(path, "must be an object", "type")
        return
    for name, value in document.items():
        here = f"{path}.{name}" if path else name
        found = find_field(message, name)
        if found is None:
            yield FieldProblem(here, "is not a field of this request", "unknown")
        elif value is not None:
            yield from _field(found, value, path=here)


def _well_known(full_name: str, value: object, *, path: str) -> Iterator[FieldProblem]:
    wanted = WELL_KNOWN[full_name]
    if isinstance(wanted, type) and not isinstance(value, wanted):
        yield FieldProblem(path, f"must be {_JSON_NAMES[wanted]}", "type")


def _field(field: FieldDescriptor, value: object, *, path: str) -> Iterator[FieldProblem]:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        if not isinstance(value, dict):
            yield FieldProblem(path, "must be an object", "type")
            return
        for key, item in value.items():
            yield from _value(entry.fields_by_name["value"], item, path=f"{path}[{key}]")
    elif field.is_repeated:
        if not isinstance(value, list):
            yield FieldProblem(path, "must be an array", "type")
            return
        for index, item in enumerate(value):
            yield from _value(field, item, path=f"{path}[{index}]")
    else:
        yield from _value(field, value, path=path)


def _value(field: FieldDescriptor, value: object, *, path: str) -> Iterator[FieldProblem]:
    if field.message_type is not None:
        yield from problems(field.message_type, value, path=path)
        return
    problem = _SCALARS[field.cpp_type](field, value)
    if problem:
        message, rule = problem
        yield FieldProblem(path, message, rule)


_Scalar = Callable[[FieldDescriptor, object], tuple[str, str] | None]


def _integer(field: FieldDescriptor, value: object) -> tuple[str, str] | None:
    number = _whole(value)
    if number is None:
        return "must be a whole number", "type"
    least, most = _RANGES[field.cpp_type]
    return None if least <= number <= most else (f"must be from {least} to {most}", "range")


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return int(value) if _INTEGER.fullmatch(value) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) else None


def _number(_field: FieldDescriptor, value: object) -> tuple[str, str] | None:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return "must be a number", "type"
        return None
    readable = isinstance(value, int | float) and not isinstance(value, bool)
    return None if readable else ("must be a number", "type")


def _boolean(_field: FieldDescriptor, value: object) -> tuple[str, str] | None:
    return None if isinstance(value, bool) else ("must be true or false", "type")


def _text(_field: FieldDescriptor, value: object) -> tuple[str, str] | None:
    return None if isinstance(value, str) else ("must be text", "type")


def _enum(field: FieldDescriptor, value: object) -> tuple[str, str] | None:
    enum = field.enum_type
    if enum is None or isinstance(value, bool) or not isinstance(value, int | str):
        return "must be the name of a value", "type"
    known = value in enum.values_by_name if isinstance(value, str) else value in enum.values_by_number
    return None if known else (f"must be one of {', '.join(enum.values_by_name)}", "enum")


_SCALARS: Mapping[int, _Scalar] = MappingProxyType(
    {
        FieldDescriptor.CPPTYPE_INT32: _integer,
        FieldDescriptor.CPPTYPE_INT64: _integer,
        FieldDescriptor.CPPTYPE_UINT32: _integer,
        FieldDescriptor.CPPTYPE_UINT64: _integer,
        FieldDescriptor.CPPTYPE_DOUBLE: _number,
        FieldDescriptor.CPPTYPE_FLOAT: _number,
        FieldDescriptor.CPPTYPE_BOOL: _boolean,
        FieldDescriptor.CPPTYPE_STRING: _text,
        FieldDescriptor.CPPTYPE_ENUM: _enum,
    }
)
