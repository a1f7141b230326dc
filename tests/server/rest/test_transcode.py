import httpx
import pytest

from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from tests.server.rest.fake_servicer import KEY, Memory

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_reply_is_proto3_json_with_its_defaults(client: httpx.AsyncClient, memory: Memory) -> None:
    wallet = wallet_pb.Wallet(wallet_id="wal_1", exists=True, mode=wallet_pb.WALLET_MODE_STRICT)
    wallet.available.currency_code, wallet.available.amount_nanos = "CREDITS", 9_992_500_000_000
    memory.wallets[wallet_pb.OWNER_KIND_USER, "user_123"] = wallet

    answer = await client.get("/api/v1/wallet?owner.kind=OWNER_KIND_USER&owner.id=user_123")

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json()["wallet"] == {
        "walletId": "wal_1",
        "exists": True,
        "available": {"currencyCode": "CREDITS", "amountNanos": "9992500000000"},
        "mode": "WALLET_MODE_STRICT",
        "state": "WALLET_STATE_UNSPECIFIED",
        "overflowWalletId": "",
    }


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer {KEY}"},
        {"x-api-key": KEY},
        {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": KEY},
    ],
)
async def test_both_headers_authenticate(stranger: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await stranger.get("/api/v1/caller", headers=headers)

    assert answer.status_code == 200
    assert answer.json()["organizationId"] == "org_acme"


async def test_the_request_id_reaches_the_server_and_comes_back(
    client: httpx.AsyncClient, memory: Memory
) -> None:
    answer = await client.get("/api/v1/caller", headers={"x-request-id": "mine-42"})

    assert answer.headers["x-request-id"] == "mine-42"
    assert [who.request_id for who in memory.callers] == ["mine-42"]


async def test_a_body_becomes_the_message(client: httpx.AsyncClient, memory: Memory) -> None:
    body = {
        "owner": {"kind": "OWNER_KIND_USER", "id": "user_123"},
        "amount": {"currencyCode": "CREDITS", "amountNanos": "1000"},
        "idempotencyKey": "once",
        "expireTime": "2030-01-01T00:00:00Z",
    }

    answer = await client.post("/api/v1/grants", json=body)

    assert answer.status_code == 200, answer.text
    (grant,) = memory.grants
    assert (grant.owner.id, grant.amount.amount_nanos, grant.idempotency_key) == ("user_123", 1000, "once")
    assert grant.expire_time.ToJsonString() == "2030-01-01T00:00:00Z"


async def test_every_mistake_of_a_body_is_named(client: httpx.AsyncClient, memory: Memory) -> None:
    body = {"ownr": {}, "owner": {"kind": "USER", "id": 5}, "amount": {"amountNanos": "many"}}

    answer = await client.post("/api/v1/grants", json=body, headers={"x-request-id": "mine"})

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert {"code": error["code"], "reason": error["reason"], "requestId": error["requestId"]} == {
        "code": "INVALID_ARGUMENT",
        "reason": "INVALID_ARGUMENT",
        "requestId": "mine",
    }
    assert {(field["field"], field["rule"]) for field in error["fields"]} == {
        ("ownr", "unknown"),
        ("owner.kind", "enum"),
        ("owner.id", "type"),
        ("amount.amountNanos", "type"),
    }
    assert error["metadata"] == {"field": "ownr"}
    assert not memory.grants


async def test_rules_are_the_servers_and_fields_are_named_as_json(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/events?pageSize=-1")

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["reason"] == "INVALID_ARGUMENT"
    assert [field["field"] for field in error["fields"]] == ["pageSize"]


async def test_an_unknown_query_parameter_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/wallet?walet_id=x")

    assert answer.status_code == 400
    assert answer.json()["error"]["fields"] == [
        {"field": "walet_id", "message": "is not a parameter of this operation", "rule": "unknown"}
    ]


async def test_a_malformed_body_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/grants", content=b'{"owner":')

    assert answer.status_code == 400
    assert answer.json()["error"]["fields"][0]["rule"] == "json"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [({}, "CREDENTIAL_MISSING"), ({"x-api-key": "om_live_wrong"}, "CREDENTIAL_INVALID")],
)
async def test_authentication_comes_before_shape(
    stranger: httpx.AsyncClient, headers: dict[str, str], reason: str
) -> None:
    answer = await stranger.post("/api/v1/grants", json={"ownr": {}}, headers=headers)

    assert answer.status_code == 401
    assert answer.json()["error"]["reason"] == reason
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_key_that_no_header_can_carry_on_is_invalid(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/api/v1/caller", headers={b"x-api-key": "schlüssel".encode("latin-1")})

    assert answer.status_code == 401
    assert answer.json()["error"]["reason"] == "CREDENTIAL_INVALID"


async def test_an_operation_for_anybody_needs_no_credential(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.post(
        "/api/v1/sign-in", json={"email": "a@example.com", "password": "long enough"}
    )

    assert answer.status_code == 200, answer.text
    assert answer.json()["session"]["secret"] == "opaque"


async def test_missing_funds_are_402_with_what_a_program_needs(client: httpx.AsyncClient) -> None:
    body = {
        "walletId": "wal_00000000000000000000000000",
        "amount": {"currencyCode": "CREDITS", "amountNanos": "5"},
        "idempotencyKey": "once",
    }

    answer = await client.post("/api/v1/holds", json=body)

    assert answer.status_code == 402
    error = answer.json()["error"]
    assert error["code"] == "FAILED_PRECONDITION"
    assert error["reason"] == "INSUFFICIENT_FUNDS"
    assert error["metadata"] == {"wallet_id": "wal_1", "needed": "5", "available": "2.5"}


async def test_what_is_not_found_is_404(client: httpx.AsyncClient) -> None:
    hold_id = "hld_00000000000000000000000000"

    answer = await client.post(f"/api/v1/holds/{hold_id}/capture")

    assert answer.status_code == 404, answer.text
    assert answer.json()["error"]["metadata"] == {"kind": "hold", "id": hold_id}


async def test_what_the_server_lacks_is_501(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/prompts")

    assert answer.status_code == 501
    assert answer.json()["error"]["reason"] == "NOT_IMPLEMENTED"


async def test_a_defect_of_the_server_is_500_without_its_text(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/wallets")

    assert answer.status_code == 500
    assert answer.json()["error"]["reason"] == "INTERNAL"
    assert "secret" not in answer.text


async def test_a_large_body_is_413(client: httpx.AsyncClient, memory: Memory) -> None:
    answer = await client.post("/api/v1/grants", content=b" " * (10 * 1024 * 1024 + 1))

    assert answer.status_code == 413
    assert answer.json()["error"]["reason"] == "INVALID_ARGUMENT"


async def test_a_body_above_the_thread_limit_is_read_the_same(
    client: httpx.AsyncClient, memory: Memory
) -> None:
    event = {"eventId": "evt", "lines": [{"provider": "openai"}], "metadata": {"text": "x" * 400_000}}

    answer = await client.post("/api/v1/events", json={"events": [event]})

    assert answer.status_code == 200, answer.text
    assert answer.json()["results"][0]["state"] == "INGEST_STATE_ACCEPTED"
    assert memory.batches[0].events[0].metadata["text"] == "x" * 400_000


async def test_a_body_of_another_media_type_is_not_read(client: httpx.AsyncClient, memory: Memory) -> None:
    answer = await client.post("/api/v1/grants", content=b"{}", headers={"content-type": "text/plain"})

    assert answer.status_code == 415
    assert answer.json()["error"]["message"] == "the body must be application/json, not text/plain"
    assert not memory.grants


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON", ""])
async def test_json_is_read_by_any_of_its_names(client: httpx.AsyncClient, media_type: str) -> None:
    headers = {"content-type": media_type} if media_type else {}

    answer = await client.post("/api/v1/grants", content=b"{", headers=headers)

    assert answer.status_code == 400
    assert "not valid JSON" in answer.json()["error"]["message"]


async def test_a_request_without_a_body_may_name_any_media_type(client: httpx.AsyncClient) -> None:
    """The published TypeScript client names JSON on every GET, and others name what they like."""
    answer = await client.get("/api/v1/caller", headers={"content-type": "text/plain"})

    assert answer.status_code == 200


async def test_the_name_of_a_parameter_is_told_as_it_is_documented(client: httpx.AsyncClient) -> None:
    answer = await client.get(
        "/api/v1/events", params={"page_size": "many", "filter.includeSandbox": "maybe"}
    )

    found = {problem["field"] for problem in answer.json()["error"]["fields"]}
    assert found == {"pageSize", "filter.includeSandbox"}
