"""Ports for processes that must be told theirs before they start."""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Iterator

#: Below what systems give by themselves: a port that is free here is not given to somebody else meanwhile.
_FIRST, _LAST = 12_000, 30_000
#: Not the seed of any test: processes that start together must not try the same ports.
_RANDOM = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """Give ports that were free together."""
    with contextlib.ExitStack() as held:
        listeners = [held.enter_context(_listener()) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def _listener() -> socket.socket:
    for port in _candidates():
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
    raise OSError("no free port")


def _candidates() -> Iterator[int]:
    return (_RANDOM.randint(_FIRST, _LAST) for _ in range(1_000))
