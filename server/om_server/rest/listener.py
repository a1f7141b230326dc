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
            listeners.append(socket.create_server((host, port), family=family, backlog=BACKLOG))
        except OSError as error:
            for listener in listeners:
                listener.close()
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(f"cannot listen on {host}:{port}: {reason}") from error
    return listeners
