"""How an HTTP request becomes the request message of an RPC: path, query and JSON body together.

The OpenAPI document carries the google.api.http annotation (x-grpc-method, x-grpc-body and
x-grpc-path-fields), so that what is documented and what is served is the same text.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import orjson
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from om_server.rest.errors import FieldProblem, RequestMalformed, camel_path
from om_server.rest.shape import WELL_KNOWN, find_field, problems
from om_server.rpc.contract import SERVICES, Rpc

_PARSE_FAILURE = re.compile(r"Failed to parse (\w+) field: ")


@dataclass(frozen=True, slots=True)
class Binding:
    """An RPC and where its fields come from.

    Those of the path by parameter name, the rest from the body if there is one, else from the query.
    """

    rpc: Rpc
    has_body: bool
    path_fields: Mapping[str, str]

    @classmethod
    def from_operation(cls, operation: Mapping[str, object]) -> "Binding":
        """Read the annotation from an operation of the OpenAPI document.

        TypeError for what the contract may say but never did: a body that is one field, a path
        parameter inside of another message.
        """
        service, _, name = str(operation["x-grpc-method"]).strip("/").rpartition("/")
        rpc = next(rpc for rpc in SERVICES[service] if rpc.name == name)
        body, path_fields = operation["x-grpc-body"], operation["x-grpc-path-fields"]
        if body not in {"", "*"} or not isinstance(path_fields, Mapping):
            raise TypeError(f"{rpc.path} has no HTTP form here")
        if any("." in field for field in path_fields.values()):
            raise TypeError(f"{rpc.path}: the path carries a field of another message")
        return cls(rpc, body == "*", path_fields)

    @property
    def _message(self) -> Descriptor:
        # The types name two classes, of which the second passes for an instance of the first.
        return cast("Descriptor", self.rpc.request_type.DESCRIPTOR)

    def read(self, raw: bytes, *, query: Sequence[tuple[str, str]], path: Mapping[str, str]) -> Message:
        """The request message; RequestMalformed names everything that is wrong with its shape."""
        document = _object(raw) if self.has_body else {}
        found = self._add_query(document, query)
        found += problems(self._message, document)
        for name, field in self.path_fields.items():
            spellings = {field, self._message.fields_by_name[field].camelcase_name}
            # Two values could differ, and one of them would be obeyed in silence.
            found += [
                FieldProblem(key, "is given by the path", "unknown") for key in spellings & document.keys()
            ]
            document[field] = path[name]
        if found:
            raise RequestMalformed(*found)
        try:
            return json_format.ParseDict(document, self.rpc.request_type())
        except json_format.ParseError as error:
            raise RequestMalformed(_unreadable(error)) from error

    def _add_query(self, document: dict[str, object], query: Sequence[tuple[str, str]]) -> list[FieldProblem]:
        """Put every parameter into the document; return those that have no place there."""
        found: list[FieldProblem] = []
        for name, text in query:
            fields = self._fields(name)
            if not fields:
                found.append(FieldProblem(name, "is not a parameter of this operation", "unknown"))
                continue
            *parents, last = fields
            inner = document
            for parent in parents:
                # Only this loop writes into a document that has no body, so it is an object.
                inner = inner.setdefault(parent.camelcase_name, {})  # type: ignore[assignment]
            key = last.camelcase_name
            if last.is_repeated:
                inner.setdefault(key, []).append(_plain(last, text))  # type: ignore[attr-defined]
            elif key in inner:
                found.append(FieldProblem(name, "is given more than once", "unique"))
            else:
                inner[key] = _plain(last, text)
        return found

    def _fields(self, name: str) -> list[FieldDescriptor]:
        """The fields that a dotted parameter name leads through; empty if it is no parameter."""
        message: Descriptor | None = None if self.has_body else self._message
        fields: list[FieldDescriptor] = []
        for part in name.split("."):
            field = find_field(message, part) if message is not None else None
            if field is None:
                return []
            fields.append(field)
            message = field.message_type
            if message is not None and message.full_name in WELL_KNOWN:
                message = None
        in_path = fields[0].name in self.path_fields.values()
        return [] if in_path or message is not None else fields


def _object(raw: bytes) -> dict[str, object]:
    """The body as a JSON object. No body at all is an empty one: many requests have nothing to say."""
    if not raw.strip():
        return {}
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise RequestMalformed(FieldProblem("", f"the body is not valid JSON: {error}", "json")) from error
    if not isinstance(body, dict):
        raise RequestMalformed(FieldProblem("", "the body must be an object", "type"))
    return body


def _plain(field: FieldDescriptor, text: str) -> object:
    """Proto3 JSON reads everything from text but booleans."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return {"true": True, "false": False}.get(text, text)
    return text


def _unreadable(error: json_format.ParseError) -> FieldProblem:
    """What only protobuf's reader notices, such as a date-time that is none; its prose without the frame."""
    text = str(error)
    names = _PARSE_FAILURE.findall(text)
    reason = _PARSE_FAILURE.sub("", text).split(" at ")[0].splitlines()[0].rstrip(".")
    reason = reason.removeprefix("Failed to parse ")
    return FieldProblem(camel_path(".".join(names)), f"cannot be read: {reason}", "format")
