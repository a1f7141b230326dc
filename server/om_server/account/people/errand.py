"""Work that a call leaves behind: it is done soon, and the caller does not see how long it took."""

import contextvars
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from om_server.core.errors import Overloaded

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_WAITING_MAX = 100
_STOP_GRACE_S = 5.0


class Errands:
    """Does one piece of work after another on a thread that begins with the first.

    What waits when the process dies is lost, so only what a person would simply ask for again belongs here.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="errand")
        self._places = threading.BoundedSemaphore(_WAITING_MAX)
        self._last_begin = math.inf

    def leave(self, work: Callable[[], None]) -> None:
        """Have work done; OVERLOADED if too much of it waits."""
        if not self._places.acquire(blocking=False):
            raise Overloaded
        # The thread sees the rows that its call may see.
        self._pool.submit(contextvars.copy_context().run, self._do, work)

    def stop(self, grace_s: float = _STOP_GRACE_S) -> None:
        """Take no more and finish what waits, but begin nothing after the grace: mail servers may be slow."""
        self._last_begin = time.monotonic() + grace_s
        self._pool.shutdown()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            if time.monotonic() >= self._last_begin:
                _log.warning("errand_dropped")
                return
            work()
        except Exception as error:  # noqa: BLE001 - nobody waits for the answer, and the next one must run
            # By kind only: the error's words may hold an address.
            _log.warning("errand_failed", error=type(error).__name__)
        finally:
            self._places.release()
