"""SQLite, the embedded default: one process owns the file and one connection in it writes.

WAL with synchronous=FULL, so an acknowledged commit survives a power cut. The writing connection
also checkpoints; readers never do, which keeps them clear of the WAL-reset defect of older
libraries. A lock file keeps a second process out.
"""

from __future__ import annotations

import fcntl
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import peewee

from om_server.core.errors import Code, DomainError
from om_server.storage.database import Database, unavailable_as_domain_error

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")

_WRITER_PRAGMAS: Mapping[str, str | int] = {
    "journal_mode": "wal",
    "synchronous": "full",
    "foreign_keys": 1,
    "busy_timeout": 5000,
}
_READER_PRAGMAS: Mapping[str, str | int] = {
    "query_only": 1,
    "wal_autocheckpoint": 0,
    "foreign_keys": 1,
    "busy_timeout": 5000,
}


class DatabaseOwned(DomainError):
    """Another process has this SQLite file open."""

    code = Code.FAILED_PRECONDITION
    reason = "DEPENDENCY_UNAVAILABLE"

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is in use by another process; talk to it over gRPC instead")


class _Engine(peewee.SqliteDatabase):
    """A peewee database whose connection on a thread is the one writer, or that thread's reader.

    Peewee opens and closes at the edges of `connection_context`. Here opening picks a connection
    that already exists and closing leaves it open: opening a file for each read costs more than
    the read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), autoconnect=False, check_same_thread=False)
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._readers_lock = threading.Lock()
        self.writer = self._open(_WRITER_PRAGMAS)

    def _open(self, pragmas: Mapping[str, str | int]) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._connect()  # type: ignore[misc]  # Peewee's stubs leave it out.
        cursor = connection.cursor()
        for name, value in pragmas.items():
            cursor.execute(f"PRAGMA {name} = {value}")
        cursor.close()
        return connection

    def _connect(self) -> sqlite3.Connection:
        if getattr(self._local, "writing", False):
            return self.writer
        reader: sqlite3.Connection | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = self._open(_READER_PRAGMAS)
            with self._readers_lock:
                self._readers.append(reader)
        return reader

    def _close(self, conn: Any) -> None:  # noqa: ANN401 - peewee's own signature is untyped
        """Leave the connection open for the next use on this thread."""

    def use_writer(self, *, writing: bool) -> None:
        self._local.writing = writing

    def shut(self) -> None:
        with self._readers_lock:
            for reader in self._readers:
                reader.close()
            self._readers.clear()
        self._local = threading.local()
        self.writer.close()


class SqliteStore(Database):
    """A SQLite file owned by this process."""

    supports_row_locks = False

    def __init__(self, path: Path, models: Sequence[type[peewee.Model]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock_file)
            raise DatabaseOwned(path) from error
        self._sqlite = _Engine(path)
        self._write_lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        super().__init__(self._sqlite, models)

    def _transact(self, fn: Callable[[], T]) -> T:
        if not self._sqlite.is_closed():
            # A read is open on this thread; its connection cannot write.
            raise RuntimeError("write() inside read(): start the transaction with write()")
        with unavailable_as_domain_error(), self._write_lock:
            self._sqlite.use_writer(writing=True)
            try:
                with self._sqlite.connection_context(), self._sqlite.atomic("IMMEDIATE"):
                    result = fn()
            finally:
                self._sqlite.use_writer(writing=False)
        for listener in self._listeners:
            listener()
        return result

    def on_write(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every commit: there is no other writer."""
        self._listeners.append(listener)

    def close(self) -> None:
        self._sqlite.shut()
        os.close(self._lock_file)
