"""What the commands do, without the command line: each takes the settings of its process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import structlog

from om_server import wiring
from om_server.core.clock import system_clock
from om_server.core.money import CREDITS, Money
from om_server.demo import DEVELOPMENT_KEY
from om_server.rest.app import RestSettings
from om_server.rest.app import serve as serve_http
from om_server.rpc.server import RpcServer, RpcSettings
from om_server.settings import Environment, Settings, SettingsInvalid
from om_server.storage.migrate import migrate, pending

if TYPE_CHECKING:
    from collections.abc import Iterator

    from om_server.storage.database import Database

_log = structlog.get_logger(__name__)

_STOP_GRACE_S = 10.0
_DEVELOPMENT_CREDITS = Money.parse("10000", CREDITS)


def prepare(settings: Settings) -> None:
    """Bring the database up to date and, in development, seed the key and its wallet."""
    with _database(settings) as database:
        _migrate(database)
        if settings.environment == Environment.DEVELOPMENT:
            seed_development(wiring.build(database))


def migrate_database(settings: Settings) -> list[str]:
    """Apply what is missing and return its names."""
    with _database(settings) as database:
        return _migrate(database)


def _migrate(database: Database) -> list[str]:
    incarnation = wiring.id_source().new("inc")
    return migrate(database, incarnation=incarnation, now_us=system_clock())


def seed_development(platform: wiring.Platform) -> str:
    """Make the development organization, its public key and 10,000 credits; again changes nothing."""
    organization_id = platform.account.seed_development(DEVELOPMENT_KEY)
    platform.wallet.seed_grant(organization_id, _DEVELOPMENT_CREDITS)
    return organization_id


@contextlib.contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = wiring.open_database(settings)
    try:
        yield database
    finally:
        database.close()


async def serve_rpc(settings: Settings) -> None:
    """Serve gRPC until a signal; on SQLite, settle on a thread beside it."""
    token = settings.require_service_token()
    with _database(settings) as database:
        _require_migrated(database)
        platform = wiring.build(database)
        if settings.environment == Environment.PRODUCTION:
            # The development key is public; on data that was once seeded it must not open anything.
            platform.account.retire_development()
        server = RpcServer(
            platform.servicers,
            platform.account.authenticator(),
            settings=RpcSettings(
                address=f"{settings.host}:{settings.grpc_port}",
                pool_size=settings.grpc_thread_count,
                concurrent_calls_max=settings.grpc_concurrent_calls_max,
                reflection=settings.environment == Environment.DEVELOPMENT,
            ),
            service_token=token,
            new_request_id=lambda: platform.ids.new("req"),
            database_answers=database.answers,
        )
        port = await server.start()
        if settings.on_sqlite:
            platform.worker.start()
        _log.info("rpc_started", port=port, sqlite=settings.on_sqlite)
        await _until_signal()
        await server.stop(_STOP_GRACE_S)
        platform.worker.stop()


async def serve_worker(settings: Settings) -> None:
    """Settle until a signal. A SQLite file has one owner, so there its owner settles."""
    if settings.on_sqlite:
        raise SettingsInvalid(
            "OM_DATABASE_URL: a worker of its own needs PostgreSQL; on SQLite `serve rpc` settles"
        )
    with _database(settings) as database:
        _require_migrated(database)
        platform = wiring.build(database)
        platform.worker.start()
        _log.info("worker_started")
        await _until_signal()
        platform.worker.stop()


async def serve_rest(settings: Settings) -> None:
    """Serve HTTP on the three documented ports until a signal."""
    rest = RestSettings(
        grpc_target=settings.rpc_target,
        host=settings.host,
        ports=(settings.rest_port, settings.ingest_port, settings.rating_port),
        environment=settings.environment.value,
    )
    await serve_http(rest)


def _require_migrated(database: Database) -> None:
    if missing := pending(database):
        raise SettingsInvalid(f"the database lacks {', '.join(missing)}: run `openmonetize migrate`")


async def _until_signal() -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
