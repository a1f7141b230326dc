"""A real in-process gRPC server on a free port, a blocking channel to it, and errors as values."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from om_server.core.errors import Unauthenticated
from om_server.rpc.access import Authenticator
from om_server.rpc.caller import Caller, Principal, Scope
from om_server.rpc.interceptors import CallCounter
from om_server.rpc.server import RpcServer, RpcSettings

T = TypeVar("T")

SERVICE_TOKEN = "service-token-of-this-test"

_START_TIMEOUT_S = 30


def made(servicer_class: Callable[..., T], *arguments: object, **named: object) -> T:
    """Make a servicer that leaves RPCs out. The published types of the generated bases are abstract."""
    return servicer_class(*arguments, **named)


class Keyring:
    """An authenticator that knows the callers it was given, by secret."""

    def __init__(self, callers: Mapping[str, Caller] | None = None) -> None:
        self.callers = dict(callers or {})

    def authenticate(self, secret: str) -> Caller:
        if secret not in self.callers:
            raise Unauthenticated
        return self.callers[secret]


def key_caller(*scopes: Scope, organization_id: str = "org_test") -> Caller:
    """A key with these scopes; with none named, with ADMIN."""
    return Caller(
        Principal.KEY,
        organization_id=organization_id,
        team_id="team_test",
        key_id="key_test",
        scopes=frozenset(scopes or (Scope.ADMIN,)),
    )


def bearer(secret: str = SERVICE_TOKEN, **more: str) -> tuple[tuple[str, str], ...]:
    """Metadata of a call with this credential; underscores in further names become hyphens."""
    extra = ((name.replace("_", "-"), value) for name, value in more.items())
    return (("authorization", f"Bearer {secret}"), *extra)


@contextlib.contextmanager
def serving(
    servicers: Sequence[object],
    authenticator: Authenticator | None = None,
    *,
    counter: CallCounter | None = None,
    **settings: int | bool,
) -> Iterator[grpc.Channel]:
    """Serve the contract with these servicers and give a channel; `settings` are fields of RpcSettings."""
    numbers = itertools.count(1)
    server = RpcServer(
        servicers,
        authenticator or Keyring(),
        settings=RpcSettings(address="127.0.0.1:0", **settings),  # type: ignore[arg-type] # Mixed by design.
        service_token=SERVICE_TOKEN,
        new_request_id=lambda: f"req_{next(numbers)}",
        counter=counter,
    )
    with _running(server) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


@contextlib.contextmanager
def _running(server: RpcServer) -> Iterator[int]:
    """Run the server on an event loop of its own, as the process does, so that tests may block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="rpc-test-loop")
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(server.start(), loop).result(_START_TIMEOUT_S)
        asyncio.run_coroutine_threadsafe(server.stop(grace=0), loop).result(_START_TIMEOUT_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@dataclass(frozen=True, slots=True)
class RpcFailure:
    """What a client learns of an error."""

    code: grpc.StatusCode
    message: str
    reason: str
    domain: str
    metadata: dict[str, str]
    violations: dict[str, str] = field(default_factory=dict)
    request_id: str = ""


@contextlib.contextmanager
def failing() -> Iterator[list[RpcFailure]]:
    """Expect the call in the block to fail; the list then holds the one failure."""
    failures: list[RpcFailure] = []
    with pytest.raises(grpc.RpcError) as raised:
        yield failures
    failures.append(failure_of(raised.value))


def failure_of(error: grpc.RpcError) -> RpcFailure:
    """Read the rich error of a failed call."""
    call: grpc.Call = cast("grpc.Call", error)  # Every error of a blocking call is one; the types hide it.
    trailing = dict(call.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailing.get("grpc-status-details-bin", b""))
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        assert detail.Unpack(info) or detail.Unpack(request)
    code = call.code()
    if status.details:
        assert (status.code, status.message) == (code.value[0], call.details())
    return RpcFailure(
        code=code,
        message=call.details() or "",
        reason=info.reason,
        domain=info.domain,
        metadata=dict(info.metadata),
        violations={found.field: found.description for found in request.field_violations},
        request_id=str(trailing.get("x-request-id", "")),
    )
