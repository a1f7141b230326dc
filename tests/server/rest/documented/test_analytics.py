from decimal import Decimal

import httpx
import pytest

from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om.type.v1.usage_pb2 import Quantity
from om_server.rest.documented.analytics import usage_body
from tests.server.rest.fake_servicer import Memory

pytestmark = pytest.mark.asyncio(loop_scope="session")

DIMENSIONS = (
    analytics_pb.DIMENSION_FEATURE,
    analytics_pb.DIMENSION_PROVIDER,
    analytics_pb.DIMENSION_MODEL,
    analytics_pb.DIMENSION_EVENT_TYPE,
)


def part(
    *group: str, events: int, tokens: tuple[int, int] = (0, 0), charge: int = 0, cost: int = 0
) -> analytics_pb.UsageRow:
    row = analytics_pb.UsageRow(event_count=events)
    for dimension, value in zip(DIMENSIONS, group, strict=True):
        row.group.add(dimension=dimension, value=value)
    if any(tokens):
        row.quantities.append(Quantity(unit="input_tokens", amount=tokens[0]))
        row.quantities.append(Quantity(unit="output_tokens", amount=tokens[1]))
    row.charge.amount_nanos, row.cost.amount_nanos = charge, cost
    return row


def period(seconds: int, *, events: int, charge: int) -> analytics_pb.UsageRow:
    row = analytics_pb.UsageRow(event_count=events)
    row.period_start.seconds = seconds
    row.charge.amount_nanos = charge
    return row


PARTS = [
    part(
        "chat",
        "openai",
        "gpt-4o",
        "TOKEN_USAGE",
        events=2,
        tokens=(200, 100),
        charge=2_500_000_000,
        cost=1_500_000,
    ),
    part(
        "chat",
        "openai",
        "ft:gpt-4o:org::id",
        "TOKEN_USAGE",
        events=1,
        tokens=(10, 5),
        charge=500_000_000,
        cost=500_000,
    ),
    part("", "", "", "CUSTOM", events=4, charge=1_000_000_000),
]
PERIODS = [
    period(1_767_225_600, events=3, charge=3_000_000_000),
    period(1_767_312_000, events=4, charge=1_000_000_000),
]


async def test_the_data_has_the_published_shape() -> None:
    assert usage_body(PARTS, PERIODS)["data"] == {
        "summary": {
            "totalEvents": 7,
            "totalInputTokens": "210",
            "totalOutputTokens": "105",
            "totalCreditsBurned": "4",
            "totalCostUsd": "0.0020",
        },
        "byFeature": [
            {"featureId": "", "eventCount": 4, "creditsBurned": "1", "costUsd": "0.0000"},
            {"featureId": "chat", "eventCount": 3, "creditsBurned": "3", "costUsd": "0.0020"},
        ],
        "byProvider": [
            {
                "provider": "OPENAI",
                "model": "gpt-4o",
                "eventCount": 2,
                "inputTokens": "200",
                "outputTokens": "100",
            },
            {
                "provider": "OPENAI",
                "model": "ft:gpt-4o:org::id",
                "eventCount": 1,
                "inputTokens": "10",
                "outputTokens": "5",
            },
        ],
        "byEventType": [
            {"eventType": "CUSTOM", "eventCount": 4, "creditsBurned": "1", "costUsd": "0.0000"},
            {"eventType": "TOKEN_USAGE", "eventCount": 3, "creditsBurned": "3", "costUsd": "0.0020"},
        ],
        "timeline": [
            {"date": "2026-01-01", "events": 3, "creditsBurned": "3"},
            {"date": "2026-01-02", "events": 4, "creditsBurned": "1"},
        ],
    }


async def test_beside_it_stands_what_the_typescript_client_names() -> None:
    body = usage_body(PARTS, PERIODS)

    assert body["totalCredits"] == 4
    assert body["totalCostUsd"] == Decimal("0.002")
    assert body["byProvider"] == {
        "OPENAI": {"credits": 3, "costUsd": Decimal("0.002"), "percentage": 100},
        "unknown": {"credits": 1, "costUsd": 0, "percentage": 0},
    }
    assert body["byModel"] == {
        "gpt-4o": {"credits": Decimal("2.5"), "costUsd": Decimal("0.0015"), "percentage": 75},
        "ft:gpt-4o:org::id": {"credits": Decimal("0.5"), "costUsd": Decimal("0.0005"), "percentage": 25},
        "unknown": {"credits": 1, "costUsd": 0, "percentage": 0},
    }


async def test_nothing_used_is_all_zero() -> None:
    body = usage_body([], [])

    assert body["data"] == {
        "summary": {
            "totalEvents": 0,
            "totalInputTokens": "0",
            "totalOutputTokens": "0",
            "totalCreditsBurned": "0",
            "totalCostUsd": "0.0000",
        },
        "byFeature": [],
        "byProvider": [],
        "byEventType": [],
        "timeline": [],
    }


async def test_events_without_a_price_are_counted_beside_the_amounts() -> None:
    row = part("chat", "openai", "new-model", "TOKEN_USAGE", events=3)
    row.unrated_count = 2

    assert usage_body([row], [])["unratedEvents"] == 2


@pytest.mark.parametrize(
    "query",
    [
        "start_date=2026-01-01T00:00:00.000Z&end_date=2026-01-31T00:00:00.000Z&user_id=u&group_by=week",
        "startDate=2026-01-01T00:00:00.000000%2B0000&endDate=2026-01-31T00:00:00Z&userId=u&groupBy=week",
    ],
)
async def test_the_query_of_both_clients_reaches_the_server(
    client: httpx.AsyncClient, memory: Memory, query: str
) -> None:
    asked: list[analytics_pb.QueryUsageRequest] = []

    def usage(request: analytics_pb.QueryUsageRequest) -> list[analytics_pb.UsageRow]:
        asked.append(request)
        return PARTS if request.group_by else PERIODS

    memory.usage = usage

    answer = await client.get(f"/v1/analytics/usage?{query}")

    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["summary"]["totalEvents"] == 7
    assert len(asked) == 2
    for request in asked:
        assert request.filter.start_time.ToJsonString() == "2026-01-01T00:00:00Z"
        assert request.filter.end_time.ToJsonString() == "2026-01-31T00:00:00.000001Z"
        assert list(request.filter.user_ids) == ["u"]
    assert {request.granularity for request in asked} == {
        analytics_pb.GRANULARITY_UNSPECIFIED,
        analytics_pb.GRANULARITY_WEEK,
    }


async def test_a_wrong_date_is_refused_as_published(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/analytics/usage?start_date=soon")

    assert answer.status_code == 400
    assert answer.json() == {
        "statusCode": 400,
        "code": "FST_ERR_VALIDATION",
        "error": "Bad Request",
        "message": "querystring/startDate Invalid ISO datetime",
    }
