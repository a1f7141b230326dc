"""The gRPC server without its settling thread, so that intake is measured alone. Settings as the server's."""

from __future__ import annotations

import asyncio
import signal

from om_server import connections, wiring
from om_server.rpc.server import RpcServer, RpcSettings
from om_server.settings import Settings, load_settings


async def _serve(settings: Settings) -> None:
    database = connections.open_database(settings)
    platform = wiring.build(database)
    server = RpcServer(
        platform.servicers,
        platform.account.authenticator(),
        settings=RpcSettings(
            address=settings.rpc_target,
            pool_size=settings.grpc_thread_count,
            concurrent_calls_max=settings.grpc_concurrent_calls_max,
        ),
        service_token=settings.require_service_token(),
        new_request_id=lambda: platform.ids.new("req"),
    )
    await server.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(1)
    database.close()


if __name__ == "__main__":
    asyncio.run(_serve(load_settings()))
