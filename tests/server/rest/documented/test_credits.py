import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.rest.documented.credits import balance_body, user_credits_body
from tests.server.rest.fake_servicer import INGEST_KEY, Memory

pytestmark = pytest.mark.asyncio(loop_scope="session")


def wallet(*, available: int, held: int = 0, expires: int = 0) -> wallet_pb.Wallet:
    found = wallet_pb.Wallet(wallet_id="wal_1", exists=True)
    found.available.amount_nanos = available
    found.held.amount_nanos = held
    found.posted.amount_nanos = available + held
    if expires:
        found.next_expire_time.CopyFrom(Timestamp(seconds=expires))
    return found


async def test_the_balance_is_text() -> None:
    assert balance_body(wallet(available=9_992_500_000_000, held=7_500_000_000)) == {
        "data": {
            "balance": "10000",
            "reservedBalance": "7.5",
            "availableBalance": "9992.5",
            "currency": "credits",
        }
    }


async def test_a_users_credits_are_numbers() -> None:
    assert user_credits_body(wallet(available=100_000_000_000, expires=1_893_456_000)) == {
        "data": {"balance": 100, "reserved": 0, "available": 100, "expiresAt": "2030-01-01T00:00:00.000Z"}
    }
    assert user_credits_body(wallet(available=500_000_000))["data"] == {
        "balance": 0.5,
        "reserved": 0,
        "available": 0.5,
        "expiresAt": None,
    }


async def test_the_organizations_balance(client: httpx.AsyncClient, memory: Memory) -> None:
    memory.wallets[wallet_pb.OWNER_KIND_ORGANIZATION, ""] = wallet(available=10_500_000_000_000)

    answer = await client.get("/v1/credits/balance?anything=is+ignored")

    assert answer.status_code == 200
    assert answer.text == (
        '{"data":{"balance":"10500","reservedBalance":"0","availableBalance":"10500","currency":"credits"}}'
    )


async def test_a_wallet_that_was_never_funded_is_empty(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/credits/balance")

    assert answer.status_code == 200
    assert answer.json()["data"]["balance"] == "0"


async def test_a_users_wallet_on_the_wire(client: httpx.AsyncClient, memory: Memory) -> None:
    memory.wallets[wallet_pb.OWNER_KIND_USER, "user_123"] = wallet(available=9_992_500_000_000)

    answer = await client.get("/v1/users/user_123/credits")

    assert answer.text == '{"data":{"balance":9992.5,"reserved":0,"available":9992.5,"expiresAt":null}}'


async def test_a_user_without_a_wallet_is_404(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/users/nobody/credits")

    assert answer.status_code == 404
    assert answer.json() == {"error": "Not Found", "message": "Credit wallet not found"}


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Missing API key. Provide via Authorization: Bearer or X-API-Key header"),
        ({"authorization": "Bearer om_live_wrong"}, "Invalid or missing API key"),
        ({"x-api-key": "om_live_wrong"}, "Invalid or missing API key"),
    ],
)
async def test_without_a_valid_key_it_is_401(
    stranger: httpx.AsyncClient, headers: dict[str, str], message: str
) -> None:
    answer = await stranger.get("/v1/credits/balance", headers=headers)

    assert answer.status_code == 401
    assert answer.json() == {"error": "Unauthorized", "message": message}


async def test_a_key_without_the_scope_is_403(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/v1/credits/balance", headers={"x-api-key": INGEST_KEY})

    assert answer.status_code == 403
    assert answer.json()["error"] == "Forbidden"
