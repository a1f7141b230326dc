"""Calls any RPC of the contract by its path, with JSON for a request and errors as values."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format

from om_server.rpc.contract import SERVICES, Rpc
from tests.rpc import RpcFailure, failure_of

if TYPE_CHECKING:
    from google.protobuf.message import Message

RPCS: dict[str, Rpc] = {rpc.path: rpc for rpcs in SERVICES.values() for rpc in rpcs}

#: How long a stream that never ends has to refuse a caller.
_OPEN_S = 0.25
_PATIENCE_S = 30

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: messages, or a failure. The request id names the call in the audit log."""

    request_id: str
    replies: tuple[Message, ...] = ()
    failure: RpcFailure | None = None

    @property
    def reason(self) -> str:
        """Empty for success."""
        return self.failure.reason if self.failure else ""

    @property
    def reply(self) -> Any:
        """The one message of a call that succeeded."""
        assert self.failure is None, self.failure
        [reply] = self.replies
        return reply

    def text(self) -> str:
        """Everything that a caller learns, without what differs from call to call."""
        if self.failure:
            failure = self.failure
            return f"{failure.code.name} {failure.reason} {failure.message} {failure.metadata}"
        return "\n".join(json_format.MessageToJson(reply, sort_keys=True) for reply in self.replies)


class Caller:
    """Calls over one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def call(self, path: str, request: dict[str, Any], *, secret: str = "", endless: bool = False) -> Answer:
        """Call as whoever the secret belongs to; an endless stream only has to open."""
        rpc, request_id = RPCS[path], f"call-{next(_numbers)}"
        message = json_format.ParseDict(request, rpc.request_type())
        metadata: tuple[tuple[str, str], ...] = (("x-request-id", request_id),)
        if secret:
            metadata += (("authorization", f"Bearer {secret}"),)
        make: Any = self._channel.unary_stream if rpc.streaming else self._channel.unary_unary
        method = make(f"/{rpc.path}", _written, rpc.response_type.FromString)
        try:
            found = method(message, metadata=metadata, timeout=_OPEN_S if endless else _PATIENCE_S)
            return Answer(request_id, tuple(found) if rpc.streaming else (found,))
        except grpc.RpcError as error:
            failure = failure_of(error)
            if endless and failure.code is grpc.StatusCode.DEADLINE_EXCEEDED:
                return Answer(request_id)
            return Answer(request_id, failure=failure)


def _written(message: Message) -> bytes:
    return message.SerializeToString()
