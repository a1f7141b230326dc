import httpx
import pytest

from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om.type.v1 import event_pb2
from om.type.v1.usage_pb2 import Quantity
from om_server.rest.documented.events import event_row
from tests.server.rest.fake_servicer import Memory

pytestmark = pytest.mark.asyncio(loop_scope="session")


def settled(event_id: str = "evt_123") -> analytics_pb.Event:
    found = analytics_pb.Event(state=analytics_pb.RATING_STATE_RATED)
    found.event.event_id = event_id
    found.event.type = event_pb2.EVENT_TYPE_TOKEN_USAGE
    found.event.attribution.feature_id = "ai-chat"
    found.event.occur_time.seconds = 1_767_225_600
    line = found.event.lines.add(provider="openai", model="gpt-4o")
    line.usage.quantities.append(Quantity(unit="input_tokens", amount=200))
    line.usage.quantities.append(Quantity(unit="output_tokens", amount=100))
    found.charge.currency_code, found.charge.amount_nanos = "CREDITS", 2_000_000_000
    found.cost.currency_code, found.cost.amount_nanos = "USD", 1_500_000
    return found


async def test_an_event_has_the_published_shape() -> None:
    found = settled()
    found.event.metadata.update({"trace": "t-1", "attempt": 2})

    assert event_row(found) == {
        "id": "evt_123",
        "eventType": "TOKEN_USAGE",
        "featureId": "ai-chat",
        "provider": "OPENAI",
        "model": "gpt-4o",
        "inputTokens": "200",
        "outputTokens": "100",
        "creditsBurned": "2",
        "costUsd": "0.0015000000",
        "timestamp": "2026-01-01T00:00:00.000Z",
        "metadata": {"trace": "t-1", "attempt": 2},
        "userId": None,
        "customerId": None,
        "teamId": None,
        "sandbox": False,
        "flags": [],
    }


async def test_what_is_unknown_is_null_and_not_zero() -> None:
    found = analytics_pb.Event(state=analytics_pb.RATING_STATE_UNRATED)
    found.event.event_id = "evt_1"
    found.event.lines.add().usage.quantities.append(Quantity(unit="custom:pages", amount=3_000_000))

    row = event_row(found)

    nulls = {name for name, value in row.items() if value is None}
    assert nulls - {"userId", "customerId", "teamId"} == {
        "provider",
        "model",
        "inputTokens",
        "outputTokens",
        "creditsBurned",
        "costUsd",
        "metadata",
    }
    assert row["eventType"] == "TOKEN_USAGE"


async def test_an_amount_that_is_not_charged_yet_is_not_shown() -> None:
    found = settled()
    found.state = analytics_pb.RATING_STATE_UNRATED

    row = event_row(found)

    assert (row["creditsBurned"], row["costUsd"]) == (None, None)


async def test_several_lines_are_one_row() -> None:
    found = settled()
    found.event.lines.add(provider="openai", model="gpt-4o-mini").usage.quantities.append(
        Quantity(unit="input_tokens", amount=11)
    )

    row = event_row(found)

    assert (row["model"], row["inputTokens"]) == ("gpt-4o", "211")


async def test_pages_by_limit_and_offset(client: httpx.AsyncClient, memory: Memory) -> None:
    memory.events = [settled(f"evt_{number}") for number in range(7)]

    body = (await client.get("/v1/events?limit=2&offset=5")).json()

    assert [event["id"] for event in body["data"]] == ["evt_5", "evt_6"]
    assert body["pagination"] == {"total": 7, "limit": 2, "offset": 5}
    assert (await client.get("/v1/events")).json()["pagination"]["limit"] == 50


async def test_filters_reach_the_server(client: httpx.AsyncClient, memory: Memory) -> None:
    await client.get(
        "/v1/events?user_id=u&featureId=chat,search&provider=OPENAI&model=gpt-4o"
        "&customerId=acme&startDate=2026-01-01&endDate=2026-01-31"
    )

    (chosen,) = memory.filters
    assert list(chosen.user_ids) == ["u"]
    assert list(chosen.feature_ids) == ["chat", "search"]
    assert list(chosen.providers) == ["OPENAI"]
    assert list(chosen.models) == ["gpt-4o"]
    assert list(chosen.customer_ids) == ["acme"]
    assert chosen.start_time.ToJsonString() == "2026-01-01T00:00:00Z"
    assert chosen.end_time.ToJsonString() == "2026-02-01T00:00:00Z"


async def test_the_organizations_own_id_is_no_customer(client: httpx.AsyncClient, memory: Memory) -> None:
    await client.get("/v1/events?customerId=org_acme")

    assert not memory.filters[0].customer_ids


async def test_a_wrong_page_is_refused_as_published(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/events?limit=101")

    assert answer.status_code == 400
    assert answer.json() == {
        "statusCode": 400,
        "code": "FST_ERR_VALIDATION",
        "error": "Bad Request",
        "message": "querystring/limit Too big: expected number to be <=100",
    }


async def test_authentication_comes_before_validation(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/v1/events?limit=101", headers={"x-api-key": "om_live_wrong"})

    assert answer.status_code == 401
