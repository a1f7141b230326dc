"""The thread of a feed: one for each feed of a process, from the first that watches on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import structlog

from om_server.core.errors import DependencyUnavailable
from om_server.storage.tenancy import seeing_everybody

if TYPE_CHECKING:
    from om_server.pipeline.change_feed import FeedLimits

_log = structlog.get_logger(__name__)


_Watcher_contra = TypeVar("_Watcher_contra", contravariant=True)


class Looking(Protocol[_Watcher_contra]):
    """A feed: joined and left on any thread; `look` belongs to its poller."""

    def join(self, watcher: _Watcher_contra, /) -> None: ...

    def leave(self, watcher: _Watcher_contra, /) -> None: ...

    def look(self) -> None: ...

    def close(self) -> None: ...


class Poller(Generic[_Watcher_contra]):
    """Looks at an interval, and soon after it was woken. Any thread may call any method."""

    def __init__(self, feed: Looking[_Watcher_contra], limits: FeedLimits) -> None:
        self._feed = feed
        self._limits = limits
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._down = False

    def join(self, watcher: _Watcher_contra) -> None:
        """Let somebody watch."""
        self._feed.join(watcher)
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="change-feed", daemon=True)
                self._thread.start()
        self._woken.set()

    def leave(self, watcher: _Watcher_contra) -> None:
        """Let a watcher go."""
        self._feed.leave(watcher)

    def wake(self) -> None:
        """Look soon: this process has written something."""
        self._woken.set()

    def stop(self) -> None:
        """End all streams, and return when the database is not asked any more."""
        with self._lock:
            self._stopping.set()
            thread = self._thread
        self._feed.close()
        self._woken.set()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._look()
            if self._woken.wait(self._limits.poll_interval_s):
                self._woken.clear()
                # Whoever writes all the time wakes all the time; and what failed is not repeated at once.
                self._stopping.wait(self._limits.poll_interval_s if self._down else self._limits.poll_gap_s)

    def _look(self) -> None:
        """Look once. A failure is logged once, until it is over."""
        try:
            with seeing_everybody():
                self._feed.look()
        except DependencyUnavailable as error:
            if not self._down:
                _log.warning("changes_unread", reason=error.message)
            self._down = True
        except Exception:  # noqa: BLE001 - the outermost loop lives on
            if not self._down:
                _log.exception("changes_unread")
            self._down = True
        else:
            self._down = False
