"""Looks for what keeps the platform from starting or working here. Starts nothing and shows no secret."""

from __future__ import annotations

import os
import sqlite3
import stat
import urllib.parse
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict

from om_server import connections
from om_server.cli.finding import Finding
from om_server.cli.journal_check import journal_findings
from om_server.cli.listener_check import listener_findings
from om_server.cli.probe import connects
from om_server.cli.proxy_settings import load_journal_place, load_provider_origins
from om_server.cli.redis_check import redis_findings
from om_server.cli.store_check import store_findings
from om_server.core.errors import DomainError
from om_server.settings import Environment, SettingsInvalid, load_local_settings
from om_server.storage.migrate import pending
from om_server.storage.sqlite import DatabaseOwned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from om_server.settings import Settings

_POSTGRES_PORT = 5432


def diagnose() -> Iterator[Finding]:
    """Check everything, each as soon as it is known. Wrong settings are all there is to say of the rest."""
    yield from _provider_findings()
    try:
        settings = load_local_settings()
    except SettingsInvalid as error:
        yield from (_wrong_setting(problem) for problem in error.problems)
        return
    yield Finding("settings", f"can be used; OM_ENV is {settings.environment.value}")
    yield data_folder_finding(settings.data_dir)
    yield service_token_finding(settings)
    database = database_finding(settings)
    yield database
    if not database.problem:
        yield from store_findings(settings)
    if settings.redis_url:
        production = settings.environment is Environment.PRODUCTION
        yield from redis_findings(settings.redis_url, production=production)
    journals = load_journal_place().journal_dir or settings.data_dir / "journal"
    yield from journal_findings(journals)
    yield from listener_findings(settings)


def _wrong_setting(problem: str) -> Finding:
    variable, _, reason = problem.partition(": ")
    return Finding("settings", f"{variable} {reason}", remedy=f"correct or unset {variable}")


def _provider_findings() -> Iterator[Finding]:
    try:
        origins = load_provider_origins()
    except SettingsInvalid as error:
        yield from (_wrong_setting(problem) for problem in error.problems)
        return
    # Hosts alone: an address may hold a user and a password.
    hosts = [urllib.parse.urlsplit(each).hostname for each in origins.model_dump().values()]
    yield Finding("providers", ", ".join(str(host) for host in hosts))


def data_folder_finding(folder: Path) -> Finding:
    """Whether files can be made in the data folder, or the folder itself."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        return Finding("data folder", f"{place} is not a folder", remedy="set OM_DATA_DIR to another")
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding(
            "data folder", f"{place} is not writable", remedy="change its owner or set OM_DATA_DIR to another"
        )
    return Finding("data folder", f"{folder} is writable" if place == folder else f"{folder} can be made")


def service_token_finding(settings: Settings) -> Finding:
    """Whether the token of our own processes is there and nobody else's to read."""
    if settings.service_token is not None:
        return Finding("service token", "OM_SERVICE_TOKEN is set")
    path = settings.data_dir / "service_token"
    try:
        mode = path.stat().st_mode
    except OSError:
        return Finding("service token", "not made yet; `up` makes one, `serve` needs OM_SERVICE_TOKEN")
    if stat.S_IMODE(mode) & 0o077:
        return Finding("service token", f"others may read {path}", remedy=f"chmod 600 {path}")
    return Finding("service token", f"{path} is this user's alone")


def database_finding(settings: Settings) -> Finding:
    """Whether the database answers and is as new as this program."""
    if settings.on_sqlite:
        name = str(settings.sqlite_path)
        if not settings.sqlite_path.exists():
            return Finding("database", f"{name} is not there yet; `up` and `migrate` make it")
    else:
        name = _postgres_place(settings.database_url)
        if not _postgres_listens(settings.database_url):
            return Finding("database", f"nothing answers at {name}", remedy="start it or set OM_DATABASE_URL")
    try:
        database = connections.open_database(settings)
    except DatabaseOwned:
        return Finding("database", f"{name} is in use by a running server")
    except (OSError, sqlite3.Error) as error:
        return Finding("database", f"{name} cannot be opened ({error})", remedy="restore it or move it away")
    try:
        missing = pending(database)
    except DomainError:
        return Finding(
            "database",
            f"{name} refuses the connection",
            remedy="check user, password and name of the database",
        )
    finally:
        database.close()
    if missing:
        return Finding("database", f"{name} lacks {', '.join(missing)}", remedy="openmonetize migrate")
    return Finding("database", f"{name} is up to date")


def _postgres_place(url: str) -> str:
    parts = conninfo_to_dict(url)
    return f"PostgreSQL {parts.get('host', 'on its socket')}:{parts.get('port', _POSTGRES_PORT)}"


def _postgres_listens(url: str) -> bool:
    """Ask the socket first: libpq waits for an address that swallows packets as long as the system does."""
    parts = conninfo_to_dict(url)
    host, port = str(parts.get("host", "")), str(parts.get("port", _POSTGRES_PORT))
    if not host or host.startswith("/") or "," in host:
        return True
    return connects(host, int(port))
