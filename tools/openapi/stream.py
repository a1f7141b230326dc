"""Streams in the document: what one may be resumed from is sent as server-sent events, the rest as lines.

om_server.rest.framing serves them by the media type that is written here.
"""

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from tools.openapi.contract import Contract, Method
from tools.openapi.rule import Schema
from tools.openapi.schema import Schemas

_CURSOR = "cursor"
_RESUME: Schema = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The id of the last event received; a browser sends it by itself. It wins over `cursor`.",
    "required": False,
    "schema": {"type": "string"},
}
_EVENTS = (
    "Server-sent events: the data of each is one such message in JSON, its id the cursor to resume from. "
    "Comments are signs of life. An event `error` has a Problem for data, and ends the stream."
)
_LINES = (
    "Newline-delimited JSON: each line is one such object. If the stream fails behind its first line, the "
    "last line is a Problem and the connection breaks off."
)


def parameters(method: Method, contract: Contract) -> list[Schema]:
    """What a stream takes beside the fields of its request."""
    return [_RESUME] if method.descriptor.server_streaming and _resumable(method, contract) else []


def answer(method: Method, schemas: Schemas, *, description: str) -> Schema:
    """The answer of a stream."""
    message = _output(method)
    if _resumable(method, schemas.contract):
        content = {"text/event-stream": {"schema": schemas.message(message)}}
        return {"description": f"{description} {_EVENTS}", "content": content}
    # A message that is nothing but a list has a line for each item.
    item = _item(schemas.contract, message)
    content = {"application/x-ndjson": {"schema": schemas.message(item or message)}}
    said = schemas.contract.comment(item) if item else description
    return {"description": f"{said} {_LINES}", "content": content}


def _resumable(method: Method, contract: Contract) -> bool:
    messages = (method.descriptor.input_type.removeprefix("."), _output(method))
    return all(any(item.name == _CURSOR for item in contract.messages[name].field) for name in messages)


def _output(method: Method) -> str:
    name: str = method.descriptor.output_type.removeprefix(".")
    return name


def _item(contract: Contract, message: str) -> str:
    fields = contract.messages[message].field
    only = fields[0] if len(fields) == 1 else None
    repeated = only is not None and only.label == FieldDescriptorProto.LABEL_REPEATED
    if only is None or not repeated or only.type != FieldDescriptorProto.TYPE_MESSAGE:
        return ""
    name: str = only.type_name.removeprefix(".")
    return name
