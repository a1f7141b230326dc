from datetime import UTC, datetime

import httpx
import pytest

from om.analytics.v1 import analytics_service_pb2 as pb
from om_server.rest.documented.aggregations import GROUPINGS
from tests.server.rest.fake_servicer import INGEST_KEY, Memory

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: In the order of the documents: the path after /api/aggregations/, and the field of its list.
LISTS = {
    "by-prompt": "prompts",
    "by-team": "teams",
    "by-key": "keys",
    "by-tag": "tags",
    "by-feature": "features",
    "by-model": "models",
    "by-customer": "customers",
    "by-user": "users",
    "trend": "points",
}
PATHS = ("monthly", "version-comparison?prompt_key=p", *LISTS)
DOCUMENTED = ("monthly", "by-prompt", "by-team", "version-comparison?prompt_key=p")


class Spend:
    """Answers with these rows, whatever is asked, and remembers what was asked."""

    def __init__(self, *rows: pb.SpendRow) -> None:
        self.asked: list[pb.QuerySpendRequest] = []
        self._rows = rows

    def __call__(self, request: pb.QuerySpendRequest) -> list[pb.SpendRow]:
        self.asked.append(request)
        return list(self._rows)


def row(
    *group: tuple["pb.Dimension.ValueType", str, str],
    cost: int = 0,
    events: int = 0,
    unrated: int = 0,
    day: str = "",
) -> pb.SpendRow:
    made = pb.SpendRow(event_count=events, unrated_count=unrated)
    made.cost.amount_nanos = cost
    for dimension, value, name in group:
        made.group.add(dimension=dimension, value=value, display_name=name)
    if day:
        made.period_start.FromDatetime(datetime.fromisoformat(day).replace(tzinfo=UTC))
    return made


def version_row(version: int | None, *, cost: int, events: int, unrated: int = 0) -> pb.VersionRow:
    made = pb.VersionRow(version=version, event_count=events, unrated_count=unrated)
    made.cost.amount_nanos = cost
    return made


async def read(client: httpx.AsyncClient, path: str) -> str:
    answer = await client.get(f"/api/aggregations/{path}")
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.acceptance("B-176", "B-181", "B-191")
async def test_monthly_is_the_cost_and_its_period(client: httpx.AsyncClient, memory: Memory) -> None:
    memory.spend = Spend(row(cost=12_450_000_001, events=3, unrated=1))

    text = await read(client, "monthly?start=2026-02-01&end=2026-02-28")

    assert text == (
        '{"total_cost":12.450000001,"request_count":3,"unrated_count":1,'
        '"period":{"start":"2026-02-01","end":"2026-02-28"}}'
    )


async def test_nothing_spent_is_zero(client: httpx.AsyncClient, memory: Memory) -> None:
    assert await read(client, "monthly") == (
        '{"total_cost":0,"request_count":0,"unrated_count":0,'
        '"period":{"start":"2026-01-01","end":"2026-01-31"}}'
    )


async def test_an_amount_that_no_float_has_is_written_exactly(
    client: httpx.AsyncClient, memory: Memory
) -> None:
    memory.spend = Spend(row(cost=2**62 - 1, events=1))

    assert '"total_cost":4611686018.427387903,' in await read(client, "monthly")


@pytest.mark.acceptance("B-177", "B-193")
async def test_by_prompt_has_the_published_rows(client: httpx.AsyncClient, memory: Memory) -> None:
    prompt = pb.DIMENSION_PROMPT
    memory.spend = spend = Spend(
        row((prompt, "document-summarizer", ""), cost=4_200_000_000, events=312),
        row((prompt, "chat-assistant", ""), cost=2_100_000_000, events=890),
    )

    text = await read(client, "by-prompt?start=2026-02-01&end=2026-02-28")

    assert text == (
        '{"prompts":[{"prompt_key":"document-summarizer","total_cost":4.2,"request_count":312,"unrated_count":0},'
        '{"prompt_key":"chat-assistant","total_cost":2.1,"request_count":890,"unrated_count":0}],'
        '"period":{"start":"2026-02-01","end":"2026-02-28"},"total_count":2,"truncated":false}'
    )
    assert spend.asked[0].group_by == [prompt]


async def test_what_names_no_prompt_is_one_group(client: httpx.AsyncClient, memory: Memory) -> None:
    prompt = pb.DIMENSION_PROMPT
    memory.spend = Spend(
        row((prompt, "chat", ""), cost=30, events=1),
        row((prompt, "", ""), cost=20, events=2, unrated=1),
        row((prompt, "unknown", ""), cost=15, events=3),
    )

    text = await read(client, "by-prompt")

    assert text.startswith(
        '{"prompts":[{"prompt_key":"unknown","total_cost":0.000000035,"request_count":5,"unrated_count":1},'
        '{"prompt_key":"chat",'
    )


@pytest.mark.acceptance("B-178", "B-196")
async def test_by_team_has_names(client: httpx.AsyncClient, memory: Memory) -> None:
    team = pb.DIMENSION_TEAM
    memory.spend = Spend(
        row((team, "team_1", "backend"), cost=8_300_000_000, events=540),
        row((team, "team_gone", ""), cost=3_150_000_000, events=220),
        row((team, "", ""), cost=1, events=1),
    )

    text = await read(client, "by-team")

    assert text.startswith(
        '{"teams":[{"team_name":"backend","team_id":"team_1","total_cost":8.3,"request_count":540,"unrated_count":0},'
        '{"team_name":"team_gone","team_id":"team_gone","total_cost":3.15,"request_count":220,"unrated_count":0},'
        '{"team_name":"unknown","team_id":null,"total_cost":0.000000001,'
    )


@pytest.mark.acceptance("B-195")
async def test_by_key_names_the_team_too(client: httpx.AsyncClient, memory: Memory) -> None:
    key, team = pb.DIMENSION_KEY, pb.DIMENSION_TEAM
    memory.spend = spend = Spend(row((key, "key_1", "CI"), (team, "team_1", "backend"), cost=10**9, events=1))

    assert (await read(client, "by-key")).startswith(
        '{"keys":[{"key_name":"CI","key_id":"key_1","team_name":"backend","team_id":"team_1","total_cost":1,'
    )
    assert spend.asked[0].group_by == [key, team]


@pytest.mark.acceptance("B-197")
async def test_by_tag_says_that_totals_overlap(client: httpx.AsyncClient, memory: Memory) -> None:
    memory.spend = Spend(row((pb.DIMENSION_TAG, "onboarding", ""), cost=5 * 10**8, events=2))

    assert await read(client, "by-tag") == (
        '{"tags":[{"tag":"onboarding","total_cost":0.5,"request_count":2,"unrated_count":0}],'
        '"totals_overlap":true,"period":{"start":"2026-01-01","end":"2026-01-31"},'
        '"total_count":1,"truncated":false}'
    )


@pytest.mark.acceptance("B-200")
@pytest.mark.parametrize(
    ("path", "dimensions", "expected"),
    [
        ("by-feature", [pb.DIMENSION_FEATURE], '{"features":[{"feature_id":"v0",'),
        ("by-customer", [pb.DIMENSION_CUSTOMER], '{"customers":[{"customer_id":"v0",'),
        ("by-user", [pb.DIMENSION_USER], '{"users":[{"user_id":"v0",'),
        (
            "by-model",
            [pb.DIMENSION_PROVIDER, pb.DIMENSION_MODEL],
            '{"models":[{"provider":"v0","model":"v1",',
        ),
    ],
)
async def test_the_other_lists_name_what_they_group_by(
    client: httpx.AsyncClient,
    memory: Memory,
    path: str,
    dimensions: list["pb.Dimension.ValueType"],
    expected: str,
) -> None:
    named = [(dimension, f"v{place}", "") for place, dimension in enumerate(dimensions)]
    nameless = [(dimension, "", "") for dimension in dimensions]
    memory.spend = spend = Spend(row(*named, cost=2, events=1), row(*nameless, cost=1, events=1))

    text = await read(client, path)

    assert text.startswith(expected)
    assert ":null," in text
    assert spend.asked[0].group_by == dimensions


@pytest.mark.acceptance("B-179", "B-180", "B-199")
async def test_versions_stand_side_by_side(client: httpx.AsyncClient, memory: Memory) -> None:
    memory.versions = [
        version_row(1, cost=6_000_000_000, events=400),
        version_row(2, cost=4_200_000_000, events=400),
        version_row(10, cost=1, events=3),
        version_row(None, cost=10**9, events=2, unrated=2),
    ]

    answer = await client.get("/api/aggregations/version-comparison?prompt_key=document-summarizer")

    assert answer.text.startswith(
        '{"versions":['
        '{"version_number":1,"total_cost":6,"request_count":400,"unrated_count":0,"avg_cost_per_request":0.015},'
        '{"version_number":2,"total_cost":4.2,"request_count":400,"unrated_count":0,"avg_cost_per_request":0.0105},'
        '{"version_number":10,"total_cost":0.000000001,"request_count":3,"unrated_count":0,'
        '"avg_cost_per_request":0.000000000333},'
        '{"version_number":null,"total_cost":1,"request_count":2,"unrated_count":2,"avg_cost_per_request":null}],'
        '"prompt_key":"document-summarizer","period":{"start":"1970-01-01",'
    )
    (asked,) = memory.filters
    assert asked.HasField("start_time")
    assert asked.start_time.seconds == 0


async def test_a_registered_version_that_nobody_used_is_shown(
    client: httpx.AsyncClient, memory: Memory
) -> None:
    memory.versions = [pb.VersionRow(version=1, registered=True), version_row(7, cost=9, events=1)]

    body = (await client.get("/api/aggregations/version-comparison?prompt_key=p")).json()

    assert [(row["version_number"], row["request_count"]) for row in body["versions"]] == [(1, 0), (7, 1)]
    assert body["versions"][0]["avg_cost_per_request"] is None


@pytest.mark.acceptance("B-179")
@pytest.mark.parametrize("query", ["", "?prompt_key=", "?prompt=p"])
async def test_a_comparison_needs_a_prompt(client: httpx.AsyncClient, memory: Memory, query: str) -> None:
    answer = await client.get(f"/api/aggregations/version-comparison{query}")

    assert answer.status_code == 400
    assert answer.json()["error"] == "Bad Request"
    assert answer.json()["message"].startswith("querystring/prompt_key ")


@pytest.mark.acceptance("B-192")
async def test_a_trend_has_every_day_up_to_today(client: httpx.AsyncClient, memory: Memory) -> None:
    memory.spend = spend = Spend(
        row(cost=7, events=1, day="2025-12-30"), row(cost=9, events=2, day="2026-01-01")
    )

    text = await read(client, "trend?start=2025-12-30&end=2026-01-31")

    assert text == (
        '{"points":[{"date":"2025-12-30","total_cost":0.000000007,"request_count":1,"unrated_count":0},'
        '{"date":"2025-12-31","total_cost":0,"request_count":0,"unrated_count":0},'
        '{"date":"2026-01-01","total_cost":0.000000009,"request_count":2,"unrated_count":0}],'
        '"granularity":"day","timezone":"UTC","period":{"start":"2025-12-30","end":"2026-01-31"}}'
    )
    assert spend.asked[0].granularity == pb.GRANULARITY_DAY


@pytest.mark.parametrize(
    ("granularity", "dates"),
    [("week", ["2025-11-24", "2025-12-01"]), ("MONTH", ["2025-11-01", "2025-12-01"])],
)
async def test_a_trend_of_longer_periods_names_their_first_days(
    client: httpx.AsyncClient, memory: Memory, granularity: str, dates: list[str]
) -> None:
    # The start of a period in Berlin is an hour before the date in UTC.
    memory.spend = Spend(row(cost=1, events=1, day="2025-11-30T23:00"))
    query = f"granularity={granularity}&start=2025-11-30&end=2025-12-05&timezone=Europe/Berlin"

    answer = await client.get(f"/api/aggregations/trend?{query}")

    assert [(point["date"], point["request_count"]) for point in answer.json()["points"]] == [
        (dates[0], 0),
        (dates[1], 1),
    ]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [("granularity=hour", "granularity"), ("start=1970-01-01&end=2025-01-01", "granularity")],
)
async def test_a_trend_that_is_too_fine_is_refused(
    client: httpx.AsyncClient, memory: Memory, query: str, parameter: str
) -> None:
    answer = await client.get(f"/api/aggregations/trend?{query}")

    assert (answer.status_code, answer.json()["error"]) == (400, "Bad Request")
    assert answer.json()["message"].startswith(f"querystring/{parameter} ")


@pytest.mark.acceptance("B-174", "B-175")
@pytest.mark.parametrize("path", PATHS)
async def test_every_operation_reads_start_end_provider_and_zone(
    client: httpx.AsyncClient, memory: Memory, path: str
) -> None:
    joint = "&" if "?" in path else "?"
    query = "start=2025-02-01&end=2025-02-28&provider=OpenAI,anthropic&timezone=Asia/Kolkata"

    body = (await client.get(f"/api/aggregations/{path}{joint}{query}")).json()

    chosen, *more = memory.filters
    # A comparison asks two questions about the same events.
    assert more in ([], [chosen])
    assert chosen.start_time.ToJsonString() == "2025-01-31T18:00:00Z"
    assert chosen.end_time.ToJsonString() == "2025-02-28T18:00:00Z"
    assert list(chosen.providers) == ["OpenAI", "anthropic"]
    assert not chosen.include_sandbox
    assert body["period"] == {"start": "2025-02-01", "end": "2025-02-28"}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("query", ["start=soon", "end=31.12.2026", "timezone=Nowhere/Else"])
async def test_bad_input_is_refused_in_one_shape(
    client: httpx.AsyncClient, memory: Memory, path: str, query: str
) -> None:
    answer = await client.get(f"/api/aggregations/{path}{'&' if '?' in path else '?'}{query}")

    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "message"}
    assert answer.json()["message"].startswith(f"querystring/{query.partition('=')[0]} ")
    assert not memory.filters


@pytest.mark.acceptance("B-173")
@pytest.mark.parametrize("path", PATHS)
async def test_every_operation_wants_a_key(stranger: httpx.AsyncClient, memory: Memory, path: str) -> None:
    missing = await stranger.get(f"/api/aggregations/{path}")
    unknown = await stranger.get(f"/api/aggregations/{path}", headers={"authorization": "Bearer om_live_x"})
    forbidden = await stranger.get(
        f"/api/aggregations/{path}", headers={"authorization": f"Bearer {INGEST_KEY}"}
    )

    assert [answer.status_code for answer in (missing, unknown, forbidden)] == [401, 401, 403]
    assert all(set(answer.json()) == {"error", "message"} for answer in (missing, unknown, forbidden))


async def test_every_list_has_its_own_name() -> None:
    assert [grouping.field for grouping in GROUPINGS.values()] == list(LISTS.values())[:-1]


@pytest.mark.acceptance("B-198")
async def test_one_range_gives_every_operation_the_same_events(
    client: httpx.AsyncClient, memory: Memory
) -> None:
    for path in PATHS:
        joint = "&" if "?" in path else "?"
        await read(client, f"{path}{joint}start=2025-03-01&end=2025-03-31&timezone=America/New_York")

    ranges = {(chosen.start_time.seconds, chosen.end_time.seconds) for chosen in memory.filters}
    assert len(memory.filters) == len(PATHS)
    assert len(ranges) == 1


async def test_a_list_that_is_too_long_is_cut_and_says_so(client: httpx.AsyncClient, memory: Memory) -> None:
    rows = [row((pb.DIMENSION_USER, f"u{number}", ""), cost=9 - number, events=1) for number in range(3)]
    memory.spend = spend = Spend(*rows)

    cut = (await client.get("/api/aggregations/by-user?limit=2")).json()
    whole = (await client.get("/api/aggregations/by-user")).json()

    assert [item["user_id"] for item in cut["users"]] == ["u0", "u1"]
    assert (cut["total_count"], cut["truncated"]) == (3, True)
    assert (whole["total_count"], whole["truncated"], len(whole["users"])) == (3, False, 3)
    # The server cuts, so that no answer is too large for one message.
    assert [asked.row_limit for asked in spend.asked] == [2, 1000]


async def test_prompts_are_joined_before_they_are_cut(client: httpx.AsyncClient, memory: Memory) -> None:
    named = [("p1", 5), ("unknown", 4), ("", 3)]
    memory.spend = spend = Spend(*(row((pb.DIMENSION_PROMPT, key, ""), cost=cost) for key, cost in named))

    body = (await client.get("/api/aggregations/by-prompt?limit=1")).json()

    assert [item["prompt_key"] for item in body["prompts"]] == ["unknown"]
    assert (body["total_count"], body["truncated"]) == (2, True)
    assert spend.asked[0].row_limit == 0


@pytest.mark.parametrize("limit", ["0", "10001", "many"])
async def test_a_limit_out_of_range_is_refused(client: httpx.AsyncClient, memory: Memory, limit: str) -> None:
    answer = await client.get(f"/api/aggregations/by-customer?limit={limit}")

    assert answer.status_code == 400
    assert answer.json()["message"].startswith("querystring/limit ")
