"""What the commands do, without the command line: each takes the settings of its process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from typing import TYPE_CHECKING

import structlog

from om_server import connections, wiring
from om_server.cli.demo import DEVELOPMENT_KEY
from om_server.core.clock import system_clock
from om_server.core.collector import spare_what_stays
from om_server.core.money import CREDITS, Money
from om_server.failure import CommandFailed
from om_server.metrics.exposition import exposed, registry_of
from om_server.metrics.rest import RestMetrics
from om_server.metrics.rpc import RpcMetrics
from om_server.metrics.store import StoreMetrics
from om_server.rating.flaw import RulesInvalid
from om_server.rest.app import RestSettings
from om_server.rest.app import serve as serve_http
from om_server.rest.documented.admin import AdminAccess
from om_server.rest.rate_limit import RateLimit
from om_server.rpc.server import RpcServer, RpcSettings
from om_server.settings import Environment, Settings, SettingsInvalid
from om_server.storage.migrate import migrate, pending, renew_incarnation
from om_server.storage.tenancy import seeing_everybody
from om_server.tracing import request_tracing, tracing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from prometheus_client.registry import Collector

    from om_server.rating.burn_table_operations import AppliedTable
    from om_server.storage.database import Database

_log = structlog.get_logger(__name__)

_STOP_GRACE_S = 10.0
_DEVELOPMENT_CREDITS = Money.parse("10000", CREDITS)


def prepare(settings: Settings) -> None:
    """Bring the database up to date and, in development, seed the key and its wallet."""
    with opened(settings) as database:
        bring_up_to_date(database)
        if settings.environment == Environment.DEVELOPMENT:
            seed_development(wiring.build(database))


def migrate_database(settings: Settings, *, restored: bool = False) -> list[str]:
    """Apply what is missing and return its names; a `restored` copy begins another life."""
    with opened(settings) as database:
        applied = bring_up_to_date(database)
        if restored:
            renew_incarnation(database, incarnation=wiring.id_source().new("inc"), now_us=system_clock())
        return applied


def bring_up_to_date(database: Database) -> list[str]:
    """Apply what is missing and return its names."""
    incarnation = wiring.id_source().new("inc")
    return migrate(database, incarnation=incarnation, now_us=system_clock())


def seed_development(platform: wiring.Platform) -> str:
    """Make the development organization, its public key and 10,000 credits; again changes nothing."""
    organization_id = platform.account.seed_development(DEVELOPMENT_KEY)
    platform.wallet.seed_grant(organization_id, _DEVELOPMENT_CREDITS)
    return organization_id


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """Open the database that the settings name, for the block."""
    try:
        database = connections.open_database(settings)
    except sqlite3.Error as error:
        raise CommandFailed(f"{settings.sqlite_path} cannot be opened: {error}") from error
    try:
        yield database
    finally:
        database.close()


@contextlib.contextmanager
def opened_by_operator(settings: Settings) -> Iterator[Database]:
    """As `opened`, for a command of whoever runs the installation: it sees the rows of everybody."""
    with opened(settings) as database, seeing_everybody():
        yield database


async def serve_rpc(settings: Settings) -> None:
    """Serve gRPC until a signal; on SQLite, settle on a thread beside it."""
    stopped = _stop_event()
    token = settings.require_service_token()
    with (
        tracing(settings, "rpc") as tracer,
        opened(settings) as database,
        connections.open_queue(settings, database) as queue,
    ):
        require_migrated(database)
        people = wiring.people_settings(settings)
        platform = wiring.build(database, queue=queue, people=people, tracer=tracer)
        with seeing_everybody():
            _begin(settings, platform)
        metrics = RpcMetrics()
        stores = StoreMetrics(
            platform.stores.read,
            connections=lambda: database.connections_in_use,
            seconds=time.monotonic,
        )
        server = _rpc_server(settings, platform, token=token, counter=metrics)
        spare_what_stays()
        port = await _start(server, settings)
        try:
            if settings.on_sqlite:
                platform.worker.start()
            with (
                connections.hinting(settings, database, heard=platform.feeds.wake),
                _metrics(settings, metrics, platform.settlement, stores),
            ):
                _log.info("rpc_started", port=port, sqlite=settings.on_sqlite, redis=bool(settings.redis_url))
                await stopped.wait()
        finally:
            # Streams have no end of their own, and would use up the whole grace.
            await asyncio.to_thread(platform.feeds.stop)
            await server.stop(_STOP_GRACE_S)
            platform.stop()


def _begin(settings: Settings, platform: wiring.Platform) -> None:
    """Bring about what the settings say of the data, before anybody may call."""
    if settings.environment == Environment.PRODUCTION:
        # The development key is public; on data that was once seeded it must not open anything.
        platform.account.retire_development()
    if settings.burn_table_file is not None:
        apply_burn_tables(settings.burn_table_file, platform)


def apply_burn_tables(
    path: Path, platform: wiring.Platform, *, dry_run: bool = False
) -> tuple[AppliedTable, ...]:
    """Store and activate the tables of a file, all or none; `CommandFailed` names every flaw in it."""
    organization_id = platform.account.default_organization().organization_id
    try:
        return platform.burn_tables.apply_file(organization_id, path.read_text("utf-8"), dry_run=dry_run)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{path} cannot be read: {error}") from error
    except RulesInvalid as error:
        raise CommandFailed(f"{path}: {'; '.join(map(str, error.flaws))}") from error


def _metrics(settings: Settings, *collectors: Collector) -> AbstractContextManager[None]:
    registry = registry_of(*collectors)
    return exposed(registry, host=settings.metrics_host, port=settings.metrics_port)


def _rpc_server(
    settings: Settings, platform: wiring.Platform, *, token: str, counter: RpcMetrics
) -> RpcServer:
    return RpcServer(
        platform.servicers,
        platform.authenticator,
        settings=RpcSettings(
            address=settings.listen_address(settings.grpc_port),
            pool_size=settings.grpc_thread_count,
            concurrent_calls_max=settings.grpc_concurrent_calls_max,
            reflection=settings.environment == Environment.DEVELOPMENT,
        ),
        service_token=token,
        new_request_id=lambda: platform.ids.new("req"),
        database_answers=platform.database.answers,
        counter=counter,
        tracer=platform.tracer,
    )


async def _start(server: RpcServer, settings: Settings) -> int:
    try:
        return await server.start()
    except RuntimeError as error:
        # All that gRPC tells of a socket that it could not have.
        address = settings.listen_address(settings.grpc_port)
        raise CommandFailed(f"cannot listen on {address}; set OM_GRPC_PORT to a free port") from error


async def serve_worker(settings: Settings, ready_file: Path | None = None) -> None:
    """Settle until a signal. A SQLite file has one owner, so there its owner settles.

    The ready file holds the process id, and is there while the worker settles.
    """
    stopped = _stop_event()
    if settings.on_sqlite:
        raise SettingsInvalid(
            "OM_DATABASE_URL: a worker of its own needs PostgreSQL; on SQLite `serve rpc` settles"
        )
    with (
        tracing(settings, "worker") as tracer,
        opened(settings) as database,
        connections.open_queue(settings, database) as queue,
    ):
        require_migrated(database)
        platform = wiring.build(database, queue=queue, tracer=tracer)
        spare_what_stays()
        platform.worker.start()
        try:
            with (
                _metrics(settings, platform.settlement),
                _announced(ready_file),
                connections.hinting(settings, database),
            ):
                _log.info("worker_started", redis=bool(settings.redis_url))
                await stopped.wait()
        finally:
            platform.worker.stop()


@contextlib.contextmanager
def _announced(ready_file: Path | None) -> Iterator[None]:
    if ready_file is None:
        yield
        return
    ready_file.write_text(f"{os.getpid()}\n")
    try:
        yield
    finally:
        ready_file.unlink(missing_ok=True)


async def serve_rest(settings: Settings) -> None:
    """Serve HTTP on the three documented ports until a signal."""
    metrics = RestMetrics()
    with request_tracing(settings) as tracer, _metrics(settings, metrics):
        rest = RestSettings(
            grpc_target=settings.rpc_target,
            host=settings.host,
            ports=(settings.rest_port, settings.ingest_port, settings.rating_port),
            environment=settings.environment.value,
            public_url=settings.public_url,
            rate_limit=rate_limit(settings),
            admin_access=admin_access(settings),
            answered=metrics.answered,
            tracer=tracer,
        )
        await serve_http(rest, stop=_stop_event())


def admin_access(settings: Settings) -> AdminAccess | None:
    """Return what opens the administration; by default nothing does."""
    if settings.admin_token is None:
        return None
    return AdminAccess(settings.admin_token.get_secret_value(), settings.require_service_token())


def rate_limit(settings: Settings) -> RateLimit | None:
    """The limit that the settings name; by default there is none."""
    if not settings.rate_limit_max:
        return None
    return RateLimit(settings.rate_limit_max, settings.rate_limit_window_s)


def require_migrated(database: Database) -> None:
    """`CommandFailed` tells what to run if the database is behind this program."""
    if missing := pending(database):
        raise CommandFailed(f"the database lacks {', '.join(missing)}: run `openmonetize migrate`")


def _stop_event() -> asyncio.Event:
    """Return an event that SIGINT and SIGTERM set, even while the process still starts."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    return stopped
