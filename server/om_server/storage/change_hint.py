"""Hints through Redis that something was committed, so that pollers look before their interval is over.

A hint says nothing else: the log in the database stays the only truth, and a hint that is lost, late or
of another installation costs at most a poll interval or one look for nothing.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import redis
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger(__name__)

CHANNEL = "om:changes"

#: The least time between two hints of a process, however much it commits.
_GAP_S = 0.02
#: How long a Redis that failed is left alone; the poll interval bridges it.
_RETRY_S = 1.0
#: How often a thread that waits for hints sees that it shall stop.
_WAIT_S = 0.5


class Announcer:
    """Tells everybody of this process's commits: on a thread, so that no commit waits for Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._due = threading.Event()
        self._stopping = threading.Event()
        self._outage = _Outage("hints_unsent")
        self._thread = threading.Thread(target=self._run, name="change-announcer", daemon=True)

    def start(self) -> None:
        """Tell from now on."""
        self._thread.start()

    def announce(self) -> None:
        """Tell soon. Any thread may call it; it never waits and never raises."""
        self._due.set()

    def stop(self) -> None:
        """Tell nothing more."""
        self._stopping.set()
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        while self._due.wait() and not self._stopping.is_set():
            self._due.clear()
            try:
                self._client.publish(CHANNEL, "")
                self._outage.over()
            except redis.RedisError as error:
                self._outage.noted(error)
                self._stopping.wait(_RETRY_S)
            self._stopping.wait(_GAP_S)


class Listener:
    """Calls `heard` for each hint, and where hints may have been lost, on a thread of its own."""

    def __init__(self, client: redis.Redis, heard: Callable[[], None]) -> None:
        self._client = client
        self._heard = heard
        self._stopping = threading.Event()
        self._outage = _Outage("hints_unheard")
        self._thread = threading.Thread(target=self._run, name="change-listener", daemon=True)

    def start(self) -> None:
        """Listen from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more; returns within half a second."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except (redis.RedisError, OSError) as error:
                self._outage.noted(error)
                self._stopping.wait(_RETRY_S)

    def _listen(self) -> None:
        with self._client.pubsub() as channel:  # type: ignore[no-untyped-call]  # The library left it out.
            channel.subscribe(CHANNEL)
            while not self._stopping.is_set():
                # The confirmation is a message too, and is heard as one: hints before it were lost.
                if channel.get_message(timeout=_WAIT_S) is not None:
                    self._outage.over()
                    self._heard()


class _Outage:
    """Logs a failure once, until it is over."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._lasting = False

    def noted(self, error: Exception) -> None:
        if not self._lasting:
            _log.warning(self._event, cause=type(error).__name__)
        self._lasting = True

    def over(self) -> None:
        self._lasting = False
