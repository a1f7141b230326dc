import socket
from collections.abc import Iterator

import pytest

from om_server.cli.probe import TAKEN, connects, grpc_serving, http_answer, http_ready, refusal
from tests.rpc import serving
from tests.server.cli.web import Page, address_of, served


@pytest.fixture(name="silent_port")
def make_silent_port() -> Iterator[int]:
    """A port where nobody answers: bound, so that nobody else takes it, and not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_an_answer_has_its_status_headers_and_json() -> None:
    with served({"/there": Page(200, b'{"status": "ok"}', {"X-Name": "value"})}) as address:
        answer = http_answer(f"http://{address}/there")

        assert answer is not None
        assert (answer.ok, answer.body, answer.headers["x-name"]) == (True, {"status": "ok"}, "value")
        assert http_ready(f"http://{address}/there")


def test_an_error_is_an_answer() -> None:
    with served({"/there": Page(503, b"[1]")}) as address:
        answer = http_answer(f"http://{address}/there")

        assert answer is not None
        assert (answer.ok, answer.status, answer.body) == (False, 503, {})
        assert not http_ready(f"http://{address}/there")


def test_silence_is_no_answer(silent_port: int) -> None:
    address = f"127.0.0.1:{silent_port}"

    assert http_answer(f"http://{address}/") is None
    assert grpc_serving(address) is None
    assert not connects("127.0.0.1", silent_port)


def test_a_grpc_server_is_known_by_its_services() -> None:
    with serving([]) as channel:
        address = address_of(channel)

        assert grpc_serving(address) is True
        assert grpc_serving(address, "om.account.v1.AccountService") is True
        assert grpc_serving(address, "some.other.Service") is None


def test_a_port_may_be_had_until_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refusal("127.0.0.1", port) == TAKEN
        assert connects("127.0.0.1", port)
    assert not refusal("127.0.0.1", port)


def test_an_address_of_another_machine_is_told_as_such() -> None:
    assert refusal("192.0.2.1", 5) == "not to be had on 192.0.2.1"
