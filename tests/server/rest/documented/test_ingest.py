import httpx
import orjson
import pytest

from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om_server.rest.documented.ingest import EventResult, ingest_answer, read_batch
from om_server.rest.errors import RequestMalformed
from tests.server.rest.fake_servicer import INGEST_KEY, Memory

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATH = "/v1/events/ingest"
ACCEPTED = EventResult("evt_1", "accepted")
DUPLICATE = EventResult("evt_2", "duplicate")
REJECTED = EventResult("evt_3", "rejected", "UNKNOWN_UNIT", "the unit is not registered", "unit_type")


def event(event_id: str = "evt_1", **more: object) -> dict[str, object]:
    tokens = {"input_tokens": 150, "output_tokens": 75}
    return {"event_id": event_id, "event_type": "TOKEN_USAGE", "feature_id": "chat", **tokens, **more}


async def test_an_accepted_batch_is_answered_as_published_with_results() -> None:
    answer = ingest_answer([ACCEPTED], batch_id="bat_1", elapsed_ms=12)

    assert answer.status == 202
    assert answer.body == {
        "accepted": 1,
        "rejected": 0,
        "duplicates": 0,
        "batch_id": "bat_1",
        "status": "processing",
        "processing_time_ms": 12,
        "results": [
            {"event_id": "evt_1", "status": "accepted", "reason": None, "message": None, "field": None}
        ],
        "success": True,
        "processed": 1,
        "failed": 0,
        "errors": [],
    }


async def test_duplicates_alone_are_200_as_published() -> None:
    answer = ingest_answer([DUPLICATE], batch_id="", elapsed_ms=1)

    assert answer.status == 200
    published = ("accepted", "rejected", "duplicates", "batch_id", "status", "message")
    assert {name: answer.body[name] for name in published} == {
        "accepted": 0,
        "rejected": 0,
        "duplicates": 1,
        "batch_id": None,
        "status": "all_duplicates",
        "message": "All events were duplicates",
    }


async def test_a_mixed_batch_is_202_and_says_what_failed() -> None:
    answer = ingest_answer([ACCEPTED, DUPLICATE, REJECTED], batch_id="bat_1", elapsed_ms=1)

    assert answer.status == 202
    counts = {name: answer.body[name] for name in ("accepted", "duplicates", "rejected", "success", "failed")}
    assert counts == {"accepted": 1, "duplicates": 1, "rejected": 1, "success": False, "failed": 1}
    assert answer.body["errors"] == [{"eventId": "evt_3", "error": "the unit is not registered"}]


async def test_nothing_but_rejections_is_400_with_results() -> None:
    answer = ingest_answer([REJECTED], batch_id="", elapsed_ms=1)

    assert answer.status == 400
    assert (answer.body["error"], answer.body["status"]) == ("Bad Request", "rejected")
    assert answer.body["message"] == "body/events/0/unit_type the unit is not registered"
    assert len(answer.body["results"]) == 1  # type: ignore[arg-type]


async def test_duplicates_beside_rejections_are_nothing_new() -> None:
    answer = ingest_answer([DUPLICATE, REJECTED], batch_id="", elapsed_ms=1)

    assert (answer.status, answer.body["status"], answer.body["success"]) == (200, "nothing_new", False)


@pytest.mark.parametrize("headers", [{"authorization": f"Bearer {INGEST_KEY}"}, {"x-api-key": INGEST_KEY}])
async def test_a_batch_reaches_the_server(
    stranger: httpx.AsyncClient, memory: Memory, headers: dict[str, str]
) -> None:
    answer = await stranger.post(
        PATH, json={"events": [event(), event("evt_2")], "extra": 1}, headers=headers
    )

    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert (body["accepted"], body["batch_id"]) == (2, "bat_1")
    assert body["processing_time_ms"] >= 0
    assert [sent.event_id for sent in memory.batches[0].events] == ["evt_1", "evt_2"]


async def test_a_bad_event_costs_no_neighbour(client: httpx.AsyncClient, memory: Memory) -> None:
    events = [
        event("evt_1"),
        event("evt_2", timestamp="soon"),
        {"event_id": "evt_3"},
        event("too-long"),
        "no object",
        event("evt_6"),
    ]

    answer = await client.post(PATH, json={"events": events})

    assert answer.status_code == 202
    results = [(r["event_id"], r["status"], r["reason"], r["field"]) for r in answer.json()["results"]]
    assert results == [
        ("evt_1", "accepted", None, None),
        ("evt_2", "rejected", "INVALID_ARGUMENT", "timestamp"),
        ("evt_3", "rejected", "EVENT_EMPTY", None),
        ("too-long", "rejected", "INVALID_ARGUMENT", "user_id"),
        ("", "rejected", "INVALID_ARGUMENT", None),
        ("evt_6", "accepted", None, None),
    ]
    assert [sent.event_id for sent in memory.batches[0].events] == ["evt_1", "evt_3", "too-long", "evt_6"]


async def test_a_repeated_event_is_a_duplicate(client: httpx.AsyncClient) -> None:
    await client.post(PATH, json={"events": [event()]})

    answer = await client.post(PATH, json={"events": [event()]})

    assert answer.status_code == 200
    assert answer.json()["status"] == "all_duplicates"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "Body cannot be empty when content-type is set to 'application/json'"),
        (b'{"events":', "Body is not valid JSON but content-type is set to 'application/json'"),
        (b"null", "body/ Invalid input: expected object, received null"),
        (b"[]", "body/ Invalid input: expected object, received array"),
        (b"{}", "body/events Invalid input: expected array, received undefined"),
        (b'{"events":{}}', "body/events Invalid input: expected array, received object"),
        (b'{"events":[]}', "body/events Too small: expected array to have >=1 items"),
        (
            b'{"events":[' + b"{}," * 1000 + b"{}]}",
            "body/events Too big: expected array to have <=1000 items",
        ),
    ],
)
async def test_a_body_without_readable_events_is_400_as_published(
    client: httpx.AsyncClient, raw: bytes, message: str
) -> None:
    answer = await client.post(PATH, content=raw, headers={"content-type": "application/json"})

    assert answer.status_code == 400
    assert answer.json() == {"error": "Bad Request", "message": message}


@pytest.mark.parametrize("events", [[], [{"event_id": "evt_1", "timestamp": "soon"}]])
async def test_authentication_comes_before_everything_that_is_wrong(
    stranger: httpx.AsyncClient, events: list[object]
) -> None:
    missing = await stranger.post(PATH, json={"events": events})
    invalid = await stranger.post(PATH, json={"events": events}, headers={"x-api-key": "om_live_wrong"})

    assert (missing.status_code, invalid.status_code) == (401, 401)
    assert missing.json()["message"].startswith("Missing API key.")
    assert invalid.json()["message"] == "Invalid or missing API key"


async def test_a_batch_of_only_unreadable_events_asks_the_server_for_nothing_else(
    client: httpx.AsyncClient, memory: Memory
) -> None:
    answer = await client.post(PATH, json={"events": [event(timestamp="soon")]})

    assert answer.status_code == 400
    assert answer.json()["results"][0]["field"] == "timestamp"
    assert not memory.batches


async def test_a_body_of_ten_mebibytes_is_taken_and_more_is_413(client: httpx.AsyncClient) -> None:
    limit = 10 * 1024 * 1024
    body = orjson.dumps({"events": [event()]})

    taken = await client.post(PATH, content=body + b" " * (limit - len(body)))
    refused = await client.post(PATH, content=body + b" " * (limit - len(body) + 1))

    assert taken.status_code == 202
    assert refused.status_code == 413
    assert refused.json() == {
        "statusCode": 413,
        "code": "FST_ERR_CTP_BODY_TOO_LARGE",
        "error": "Payload Too Large",
        "message": "Request body is too large",
    }


async def test_a_batch_is_read_event_by_event() -> None:
    raw = orjson.dumps({"events": [event("a"), event("b", input_tokens="x"), event("c")]})

    batch = read_batch(raw)

    assert [sent.event_id for sent in batch.request.events] == ["a", "c"]
    assert batch.refused[1].field == "input_tokens"
    assert isinstance(batch.request, ingestion_pb.IngestEventsRequest)


async def test_a_lone_surrogate_is_no_json() -> None:
    with pytest.raises(RequestMalformed):
        read_batch(b'{"events":[{"event_id":"\\ud800"}]}')
