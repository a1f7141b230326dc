"""How the messages of a stream are written into one HTTP answer: as server-sent events, or a line each.

The OpenAPI document says which, by the media type of the answer.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol, cast

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from om_server.rest.errors import Problem, transcoded_body
from om_server.rest.transcode import message_document
from om_server.rpc.contract import Rpc

EVENTS_TYPE = "text/event-stream"
LINES_TYPE = "application/x-ndjson"

_CURSOR = "cursor"


class Framing(Protocol):
    """Writes messages of one RPC. It knows no socket."""

    #: Of the answer.
    media_type: str
    #: Whether an answer that failed ends like a whole one, because what is in it says that it failed.
    tells_failure: bool

    def resume(self, request: Message, headers: Mapping[str, str]) -> None:
        """Put into the request from where its headers want to go on."""
        ...

    def message(self, message: Message) -> bytes:
        """Write a message."""
        ...

    def failure(self, problem: Problem, request_id: str) -> bytes:
        """Write why nothing more comes."""
        ...


class Events:
    """Server-sent events, for what can be resumed: the id of each is the cursor behind it."""

    media_type = EVENTS_TYPE
    tells_failure = True

    def resume(self, request: Message, headers: Mapping[str, str]) -> None:
        """A browser that comes back asks for the address that it began with, so the header is the newer."""
        if last := headers.get("last-event-id", ""):
            setattr(request, _CURSOR, last)

    def message(self, message: Message) -> bytes:
        """An event; what has a cursor alone is a comment that moves it and calls no listener."""
        cursor = str(getattr(message, _CURSOR)).encode()
        if all(field.name == _CURSOR for field, _ in message.ListFields()):
            return b": alive\nid: " + cursor + b"\n\n"
        return b"id: " + cursor + b"\ndata: " + _json(message) + b"\n\n"

    def failure(self, problem: Problem, request_id: str) -> bytes:
        """An event of a name of its own."""
        return b"event: error\ndata: " + orjson.dumps(transcoded_body(problem, request_id)) + b"\n\n"


class Lines:
    """Newline-delimited JSON, for what comes to an end: a line for each message, or each item of a list."""

    media_type = LINES_TYPE
    # Whoever only counts lines must not take a part for the whole.
    tells_failure = False

    def __init__(self, items: str) -> None:
        self._items = items

    def resume(self, request: Message, headers: Mapping[str, str]) -> None:
        """It begins at the beginning."""

    def message(self, message: Message) -> bytes:
        """One line, or as many as the list has items."""
        found: Iterable[Message] = getattr(message, self._items) if self._items else (message,)
        return b"".join(_json(item) + b"\n" for item in found)

    def failure(self, problem: Problem, request_id: str) -> bytes:
        """A last line, which is an error and nothing else."""
        return orjson.dumps(transcoded_body(problem, request_id)) + b"\n"


def framing_of(rpc: Rpc, operation: Mapping[str, object]) -> Framing:
    """How an operation of the OpenAPI document answers; TypeError for what it says and no code does."""
    # The types name two classes, of which the second passes for an instance of the first.
    response = cast("Descriptor", rpc.response_type.DESCRIPTOR)
    media_types = _media_types(operation)
    if media_types == {EVENTS_TYPE}:
        if not all(_CURSOR in message.fields_by_name for message in (rpc.request_type.DESCRIPTOR, response)):
            raise TypeError(f"{rpc.path} has no cursor to resume from")
        return Events()
    if media_types == {LINES_TYPE}:
        return Lines(list_of(response))
    raise TypeError(f"{rpc.path}: a stream is sent as none of {sorted(media_types)}")


def list_of(message: Descriptor) -> str:
    """The field of a message that is a list of messages and has nothing beside it; empty for any other."""
    fields = message.fields
    if len(fields) == 1 and fields[0].is_repeated and fields[0].type == FieldDescriptor.TYPE_MESSAGE:
        return str(fields[0].name)
    return ""


def _media_types(operation: Mapping[str, object]) -> set[str]:
    responses = operation["responses"]
    answer = responses["200"] if isinstance(responses, Mapping) else {}
    return set(answer.get("content", ()))


def _json(message: Message) -> bytes:
    return orjson.dumps(message_document(message))
