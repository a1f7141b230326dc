"""Where a process of the server can be made to die, stop or lose an answer, and what can be broken in it.

Planted by the host into a process that has just been forked. Nothing of this is in the product.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import peewee

from om_server.analytics.operations import AnalyticsOperations
from om_server.ingestion import envelope
from om_server.ingestion.store import IngestionStore
from om_server.pipeline.settle import Settler
from om_server.pipeline.worker import Worker
from om_server.storage import migrate
from om_server.storage.inbox import SqlInbox
from om_server.storage.redis_stream import RedisStream
from om_server.storage.stream_group import StreamGroup
from om_server.wallet.operations import WalletOperations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from om_server.core.event import Event

#: Events whose ids begin so cannot be settled while the mode `poison` is on.
POISON = "poison-"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens when a process comes to a point for the n-th time."""

    point: str
    nth: int = 1
    #: kill, stop, or lose: the database's answer gets lost.
    action: str = "kill"


class Fuse:
    """Counts how often a point is passed, on any thread."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._passed = 0
        self._lock = threading.Lock()

    def burn(self) -> None:
        with self._lock:
            self._passed += 1
            if self._passed != self._fault.nth:
                return
        match self._fault.action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                # To this thread: another one might stop first, and leave this one time to go on.
                signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
            case "lose":
                raise peewee.OperationalError("the connection was lost")


def plant(fault: Fault) -> None:
    """Make the point dangerous in this process."""
    _POINTS[fault.point](Fuse(fault))


def put(owner: object, name: str, value: object) -> None:
    """Put something else where the product has something of its own."""
    setattr(owner, name, value)


def _before(kind: type, name: str, burn: Callable[[], None]) -> None:
    original = getattr(kind, name)

    @functools.wraps(original)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        burn()
        return original(*arguments, **named)

    put(kind, name, wrapper)


def _after(kind: type, name: str, burn: Callable[[], None], *, always: bool = False) -> None:
    """Burn when a call has returned something; with `always`, also nothing."""
    original = getattr(kind, name)

    @functools.wraps(original)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        if always or result:
            burn()
        return result

    put(kind, name, wrapper)


def _before_append(fuse: Fuse) -> None:
    for queue in (SqlInbox, RedisStream):
        _before(queue, "append", fuse.burn)


def _after_append(fuse: Fuse) -> None:
    for queue in (SqlInbox, RedisStream):
        _after(queue, "append", fuse.burn, always=True)


def _claimed(fuse: Fuse) -> None:
    """Redis has delivered and no transaction is open; a table's rows are locked in one."""
    for queue in (SqlInbox, RedisStream):
        _after(queue, "_claim", fuse.burn)


def _committing(burn: Callable[[], None], *, after: bool) -> None:
    """Burn around the commits of transactions that settled something new."""
    settled = threading.local()

    def note() -> None:
        settled.something = True

    def at_commit() -> None:
        if getattr(settled, "something", False):
            settled.something = False
            burn()

    _after(Settler, "_settle", note)
    if after:
        _after(peewee.Database, "commit", at_commit, always=True)
    else:
        _before(peewee.Database, "commit", at_commit)


def _migrating(fuse: Fuse) -> None:
    """Before each statement that changes something."""
    original: Callable[..., Any] = peewee.Database.execute_sql

    @functools.wraps(original)
    def execute(database: peewee.Database, sql: str, *arguments: Any) -> Any:
        if sql.lstrip().startswith(("CREATE", "ALTER", "INSERT")):
            fuse.burn()
        return original(database, sql, *arguments)

    put(peewee.Database, "execute_sql", execute)


_POINTS: Mapping[str, Callable[[Fuse], None]] = {
    "before append": _before_append,
    "after append": _after_append,
    "claimed": _claimed,
    "identities claimed": lambda fuse: _after(IngestionStore, "claim_identities", fuse.burn),
    "money moved": lambda fuse: _after(WalletOperations, "settle_charges", fuse.burn),
    "rolled up": lambda fuse: _after(AnalyticsOperations, "record", fuse.burn, always=True),
    "before commit": lambda fuse: _committing(fuse.burn, after=False),
    "after commit": lambda fuse: _committing(fuse.burn, after=True),
    "before acknowledge": lambda fuse: _before(StreamGroup, "acknowledge", fuse.burn),
    "after acknowledge": lambda fuse: _after(StreamGroup, "acknowledge", fuse.burn, always=True),
    "letter written": lambda fuse: _after(Worker, "_set_aside", fuse.burn, always=True),
    "migrating": _migrating,
    "migrated": lambda fuse: _before(peewee.Database, "commit", fuse.burn),
}


def set_mode(name: str) -> None:
    """Make this process another one than the product's: of a later version, or with a defect."""
    _MODES[name]()


def _poison() -> None:
    original = Settler._settle

    def settle(settler: Settler, events: Sequence[Event]) -> int:
        if any(event.event_id.startswith(POISON) for event in events):
            raise ValueError("an event that cannot be rated")
        return original(settler, events)

    put(Settler, "_settle", settle)


def _newer() -> None:
    """Write envelopes of the next version, and read both."""
    known, unpack = envelope.VERSION, envelope.unpack

    def unpack_both(text: str) -> Any:
        document = orjson.loads(text)
        if document.get("version") == known:
            text = orjson.dumps({**document, "version": known + 1}).decode()
        return unpack(text)

    put(envelope, "VERSION", known + 1)
    put(envelope, "unpack", unpack_both)


def _older() -> None:
    """A version before the last migrations."""
    known = migrate.migrations()[:3]
    put(migrate, "migrations", lambda: known)


def _clock_off_by(hours: int) -> None:
    """Let the machine's clock be wrong; the one that only measures goes on as it does."""
    right = time.time_ns
    off = hours * 3_600 * 10**9
    put(time, "time_ns", lambda: right() + off)
    put(time, "time", lambda: (right() + off) / 10**9)


_MODES: Mapping[str, Callable[[], None]] = {
    "poison": _poison,
    "newer": _newer,
    "older": _older,
    "an hour ahead": lambda: _clock_off_by(1),
    "an hour behind": lambda: _clock_off_by(-1),
}
