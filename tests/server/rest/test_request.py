import pytest
from starlette.datastructures import Headers
from starlette.types import Message, Receive

from om_server.core.errors import CredentialMissing, Unauthenticated
from om_server.rest.request import (
    BODY_BYTES_MAX,
    REQUEST_ID_SCOPE,
    BodyTooLarge,
    CallContext,
    Request,
    request_id,
)


def make(
    headers: dict[str, str] | None = None, *, parts: list[bytes] | None = None, query: str = ""
) -> Request:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope = {
        "type": "http",
        "method": "POST",
        "headers": encoded,
        "query_string": query.encode(),
        "path_params": {"userId": "team\ue000alice"},
        REQUEST_ID_SCOPE: "req_1",
    }
    return Request(scope, _receiving(parts or []))


def _receiving(parts: list[bytes]) -> Receive:
    waiting = [*parts, b""]

    async def receive() -> Message:
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    return receive


@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        ({}, ""),
        ({"authorization": "Bearer key"}, "key"),
        ({"authorization": "bearer  key "}, "key"),
        ({"x-api-key": " key "}, "key"),
        ({"authorization": "Bearer first", "x-api-key": "second"}, "first"),
        ({"authorization": "Basic abc", "x-api-key": "second"}, "second"),
        ({"authorization": "Bearer", "x-api-key": "second"}, "second"),
        ({"authorization": "Basic abc"}, ""),
    ],
)
def test_the_credential(headers: dict[str, str], credential: str) -> None:
    assert make(headers).context.credential == credential


def test_metadata_says_whose_part_a_call_is_where_the_request_is_traced() -> None:
    traced = CallContext("key", "req_1", "00-aa-bb-01")

    assert dict(traced.metadata)["traceparent"] == "00-aa-bb-01"
    assert traced.acting_as("").metadata == (("x-request-id", "req_1"), ("traceparent", "00-aa-bb-01"))


def test_metadata_carries_credential_and_request_id() -> None:
    assert CallContext("key", "req_1").metadata == (
        ("authorization", "Bearer key"),
        ("x-request-id", "req_1"),
    )
    assert CallContext("", "req_1").metadata == (("x-request-id", "req_1"),)


def test_a_credential_is_required_and_must_be_able_to_travel() -> None:
    with pytest.raises(CredentialMissing):
        CallContext("", "req_1").require_credential()
    with pytest.raises(Unauthenticated):
        CallContext("schlüssel", "req_1").require_credential()
    with pytest.raises(Unauthenticated):
        CallContext("two\x00parts", "req_1").require_credential()
    CallContext("om_live_1", "req_1").require_credential()


@pytest.mark.parametrize("given", ["req_1", "0af7651916cd43dd8448eb211c80319c", "a:b.c-d"])
def test_a_request_id_is_kept(given: str) -> None:
    assert request_id(Headers({"x-request-id": given})) == given


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "é", "a\tb"])
def test_a_request_id_that_cannot_be_logged_is_replaced(given: str) -> None:
    made = request_id(Headers({"x-request-id": given}))

    assert made != given
    assert len(made) == 32


def test_a_slash_that_was_encoded_is_part_of_the_value() -> None:
    assert make().path_parameters == {"userId": "team/alice"}


def test_parameters_keep_their_order_and_repetition() -> None:
    assert make(query="b=1&a=2&b=3&c=").query == [("b", "1"), ("a", "2"), ("b", "3"), ("c", "")]


async def test_a_body_is_put_together() -> None:
    assert await make(parts=[b"one ", b"two"]).body() == b"one two"


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    request = make({"content-length": str(BODY_BYTES_MAX + 1)}, parts=[b"short"])

    with pytest.raises(BodyTooLarge):
        await request.body()


async def test_a_body_that_does_not_say_so_is_counted() -> None:
    half = b"x" * (BODY_BYTES_MAX // 2)

    assert len(await make(parts=[half, half]).body()) == BODY_BYTES_MAX
    with pytest.raises(BodyTooLarge):
        await make(parts=[half, half, b"x"]).body()
