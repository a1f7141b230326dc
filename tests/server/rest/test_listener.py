import socket

import pytest

from om_server.rest.listener import listen


def test_every_port_is_listened_on() -> None:
    listeners = listen("127.0.0.1", (0, 0, 0))

    ports = {listener.getsockname()[1] for listener in listeners}
    assert len(ports) == 3
    for port in ports:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    for listener in listeners:
        listener.close()


def test_a_taken_port_is_one_line_and_frees_the_others() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as probe:
            free = probe.getsockname()[1]

        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{taken}: ") as caught:
            listen("127.0.0.1", (free, taken))

        assert "\n" not in str(caught.value)
        listen("127.0.0.1", (free,))[0].close()


def test_a_small_answer_is_sent_at_once() -> None:
    """An accepted socket that waits for acknowledgements costs every request of a connection 40 ms."""
    (listener,) = listen("127.0.0.1", (0,))

    with listener, socket.create_connection(listener.getsockname(), timeout=1):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
