"""The gRPC server of a process: every service of the contract, health, and bounds on what peers may do."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from om_server.rpc.access import Authenticator, Gate
from om_server.rpc.contract import SERVICES
from om_server.rpc.health import WHOLE_SERVER, HealthServicer
from om_server.rpc.interceptors import CallCounter, CallWrapper, Uncounted
from om_server.rpc.tracing import Tracer, Untraced
from om_server.rpc.unimplemented import defined_rpcs, service_of
from om_server.rpc.validation import warm


@dataclass(frozen=True, slots=True)
class RpcSettings:
    """Where to listen, and how much of everything is too much."""

    address: str
    #: Unary calls that run at once. A PostgreSQL pool needs at least as many connections.
    pool_size: int = 16
    #: Calls beyond, waiting ones and streams included, are refused at once.
    concurrent_calls_max: int = 1000
    #: A REST body of 10 MiB may become a somewhat larger message.
    receive_bytes_max: int = 16 * 1024 * 1024
    send_bytes_max: int = 16 * 1024 * 1024
    keepalive_interval_ms: int = 60_000
    keepalive_timeout_ms: int = 20_000
    #: A peer that pings more often is disconnected.
    ping_interval_min_ms: int = 10_000
    #: Tells strangers the whole contract, so only in development.
    reflection: bool = False


class RpcServer:
    """Serves the contract. What no servicer defines answers NOT_IMPLEMENTED, to whoever may call it."""

    def __init__(  # noqa: PLR0913 - one argument for each part that the composition root gives
        self,
        servicers: Sequence[object],
        authenticator: Authenticator,
        *,
        settings: RpcSettings,
        service_token: str,
        new_request_id: Callable[[], str],
        database_answers: Callable[[], bool] = lambda: True,
        counter: CallCounter | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._settings = settings
        self._pool = ThreadPoolExecutor(settings.pool_size, thread_name_prefix="rpc")
        warm([rpc.request_type for rpcs in SERVICES.values() for rpc in rpcs])
        wrapper = CallWrapper(
            Gate(authenticator, service_token=service_token),
            new_request_id=new_request_id,
            pool=self._pool,
            counter=counter or Uncounted(),
            tracer=tracer or Untraced(),
        )
        self._handlers = _handlers(servicers, wrapper)
        self._health = HealthServicer(database_answers, self._pool)
        self._server: grpc.aio.Server | None = None

    async def start(self) -> int:
        """Listen, and return the port: the one asked for, or the one found where 0 was asked for."""
        server = grpc.aio.server(
            migration_thread_pool=self._pool,
            options=_options(self._settings),
            maximum_concurrent_rpcs=self._settings.concurrent_calls_max,
        )
        server.add_generic_rpc_handlers(self._handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._settings.reflection:
            names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, server)
        port = server.add_insecure_port(self._settings.address)
        await server.start()
        self._server = server
        for name in (WHOLE_SERVER, *SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return port

    async def stop(self, grace: float) -> None:
        """Refuse new calls, let running ones end for `grace` seconds, then cancel them.

        A handler cannot be interrupted while it blocks, so this returns when the last has returned:
        only then may the database be closed.
        """
        await self._health.enter_graceful_shutdown()
        if self._server is not None:
            await self._server.stop(grace)
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)


def _handlers(servicers: Sequence[object], wrapper: CallWrapper) -> tuple[grpc.GenericRpcHandler, ...]:
    by_service: dict[str, object] = {}
    for servicer in servicers:
        service = service_of(type(servicer))
        if service in by_service:
            raise TypeError(f"{service} has two servicers")
        by_service[service] = servicer
    generic = []
    for service, rpcs in SERVICES.items():
        servicer = by_service.get(service)
        defined = frozenset[str]() if servicer is None else defined_rpcs(type(servicer))
        handlers = {}
        for rpc in rpcs:
            method = getattr(servicer, rpc.name) if rpc.name in defined else None
            handlers[rpc.name] = wrapper.stream(rpc, method) if rpc.streaming else wrapper.unary(rpc, method)
        generic.append(grpc.method_handlers_generic_handler(service, handlers))
    return tuple(generic)


def _options(settings: RpcSettings) -> list[tuple[str, int]]:
    return [
        # Two servers on one port would share the calls between them without a word.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.receive_bytes_max),
        ("grpc.max_send_message_length", settings.send_bytes_max),
        ("grpc.keepalive_time_ms", settings.keepalive_interval_ms),
        ("grpc.keepalive_timeout_ms", settings.keepalive_timeout_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", settings.ping_interval_min_ms),
    ]
