"""Answers that come in their own time, over a socket."""

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from om_server.account.oidc.bounded_http import BoundedHttp, HttpLimits
from om_server.account.oidc.client import OidcUnavailable


@contextlib.contextmanager
def _dripping(head: bytes, drop: bytes) -> Iterator[str]:
    """A server whose answer grows by a drop every few milliseconds, for as long as anybody listens."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(head)
            while not over.wait(0.02):
                connection.sendall(drop)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
    finally:
        over.set()
        thread.join()
        listener.close()


def test_an_answer_that_drips_is_given_up_in_time() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    with _dripping(head, b" ") as url, pytest.raises(OidcUnavailable):
        BoundedHttp(HttpLimits(timeout_s=0.2)).get(url)


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"", b"null"])
def test_what_is_no_json_object_is_no_answer(body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with _dripping(head, b"") as url, pytest.raises(OidcUnavailable):
        BoundedHttp(HttpLimits(timeout_s=5)).get(url)


@pytest.mark.parametrize("url", ["ftp://provider.example/", "https:///keys", "http://provider.example:x/"])
def test_an_address_of_another_kind_is_not_asked(url: str) -> None:
    with pytest.raises(OidcUnavailable):
        BoundedHttp(HttpLimits()).get(url)
