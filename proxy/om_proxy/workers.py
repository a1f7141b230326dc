"""Several processes on one port, each an edge of its own: `serve --workers N`.

The parent makes no calls and has no journal. A worker that dies is started again and goes on from its own
journal; one that cannot start ends them all, because its reason is a person's to mend.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping

import structlog

from om_proxy.settings import ProxySettings
from om_proxy.stop_signal import stop_signal

_log = structlog.get_logger(__name__)

#: A worker that ends earlier than that by itself could not start.
_STARTED_S = 5.0
_RESTART_DELAY_S = 0.5
_STANDARD_INPUT = 0
_WORKER = (sys.executable, "-m", "om_proxy", "worker")


class WorkersFailed(Exception):
    """A worker could not start; it has said why."""


async def serve_with_workers(settings: ProxySettings) -> None:
    """Run the workers until SIGINT or SIGTERM. WorkersFailed, OSError."""
    with _port_of(settings) as port:
        own = {"OM_PROXY_PORT": str(port), "OM_PROXY_WORKERS": str(settings.workers)}
        workers = _Workers({**os.environ, **own})
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(workers.keep(number)) for number in range(settings.workers)]
            failed = group.create_task(workers.failed.wait())
            stopped = group.create_task(stop_signal(again=workers.tell))
            await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
            workers.stop()
            await asyncio.wait(tasks)
            failed.cancel()
            stopped.cancel()
        if workers.failed.is_set():
            raise WorkersFailed("a worker could not start; its line is above")


@contextlib.contextmanager
def _port_of(settings: ProxySettings) -> Iterator[int]:
    """Hold the port, which every worker binds too. OSError where it is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((settings.host, settings.port))
        yield int(held.getsockname()[1])


class _Workers:
    """The processes that run, by number."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.failed = asyncio.Event()
        self._environment = environment
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    async def keep(self, number: int) -> None:
        """Run one worker, again and again, until all are to end."""
        while not self._stopping.is_set():
            started = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                *_WORKER,
                str(number),
                env=self._environment,
                # Ctrl-C reaches this process alone, and the pipe ends with it, whatever ends it.
                stdin=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            self._running[number] = process
            if self._stopping.is_set():
                self.tell()
            code = await process.wait()
            del self._running[number]
            if self._stopping.is_set():
                return
            _log.error("worker_ended", worker=number, code=code)
            if code > 0 and time.monotonic() < started + _STARTED_S:
                self.failed.set()
                return
            await asyncio.sleep(_RESTART_DELAY_S)

    def stop(self) -> None:
        """Tell all to end, and start none again."""
        self._stopping.set()
        self.tell()

    def tell(self) -> None:
        """Send the signal on; a second one makes them leave at once."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)


def end_with_parent() -> None:
    """Let this worker end as it does on a signal when its parent is gone."""

    def wait() -> None:
        # Not through the file object, whose lock this thread would hold when the process ends.
        while os.read(_STANDARD_INPUT, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()
