"""A running server as the commands call it, with a key of the person who runs them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TypeVar, cast

import grpc

from om_server.failure import CommandFailed
from om_server.settings import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from om_server.settings import Settings

TIMEOUT_S = 10.0

_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")


class CallRefused(CommandFailed):
    """The server did not do what was asked."""


class OwnServer:
    """A channel to the server that owns the database, and the key that it is called with."""

    def __init__(self, channel: grpc.Channel, secret: str, *, target: str) -> None:
        self.channel = channel
        self._metadata = (("authorization", f"Bearer {secret}"),)
        self._target = target

    def call(
        self, method: Callable[..., _Reply], request: _Request, *, timeout_s: float = TIMEOUT_S
    ) -> _Reply:
        """Call an RPC; CallRefused says in one line why there is no answer."""
        try:
            return method(request, metadata=self._metadata, timeout=timeout_s)
        except grpc.RpcError as error:
            raise CallRefused(self._reason(cast("grpc.Call", error))) from None

    def _reason(self, call: grpc.Call) -> str:
        # The text of a lost connection is gRPC's own and long; the rest was written for people.
        if call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return f"no server answers at {self._target}"
        if call.code() is grpc.StatusCode.UNAUTHENTICATED:
            return f"OM_API_KEY: the server at {self._target} does not know this key, or it has ended"
        return call.details() or f"the server at {self._target} answered {call.code().name}"


@contextlib.contextmanager
def own_server(settings: Settings) -> Iterator[OwnServer]:
    """Connect to the server that owns the SQLite file; SettingsInvalid without a key to call it with."""
    if settings.api_key is None:
        raise SettingsInvalid(
            f"{settings.sqlite_path} is in use by a running server: set OM_API_KEY to a key with the scope"
            " admin (in development om_dev_test_key) to ask that server, or stop it"
        )
    target = settings.rpc_target
    with grpc.insecure_channel(target) as channel:
        yield OwnServer(channel, settings.api_key.get_secret_value(), target=target)
