"""The sockets that a process listens on."""

import os
import socket
from collections.abc import Sequence

BACKLOG = 2048


def listen(host: str, ports: Sequence[int]) -> list[socket.socket]:
    """Bind and listen on every port, or on none: an OSError names the port that could not be had.

    Port 0 takes any free one.
    """
    listeners: list[socket.socket] = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in ports:
        try:
            listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
            # Accepted sockets inherit it. asyncio sets it only where the socket names its protocol, and this
            # one does not: without it a small answer waits 40 ms for the acknowledgement of its head.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listeners.append(listener)
        except OSError as error:
            for listener in listeners:
                listener.close()
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(f"cannot listen on {host}:{port}: {reason}") from error
    return listeners
