"""Events as published, over the real thing.

Defects of the published implementation that are absent here, with the test that would find each:

B3   anybody sees and replays dead letters          test_dead_letters_of_one_are_nothing_to_another
B7   event ids are unique across organizations      test_the_same_event_of_two_organizations_is_two_events
B15  quantities in fractions cost nothing, silently test_a_custom_quantity_in_fractions_is_kept
B20  types and providers are refused with the batch test_every_type_and_any_provider_is_taken
B21  a dead letter's error is lost                  test_a_dead_letter_is_listed_and_replayed
B22  what can never be stored is called accepted    test_each_event_of_a_batch_has_its_own_answer
B26  the documented examples are refused            test_the_documented_python_example_is_taken
B36  a large batch is refused                       test_a_batch_of_more_than_a_mebibyte_is_taken
B44  what was reported is not stored or shown       test_the_list_shows_whose_event_it_was
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from om_server.core.clock import system_clock
from om_server.core.event import SOURCE_API, Attribution, Event, EventType, UsageLine
from om_server.core.usage import Certainty, Quantity, Usage
from om_server.ingestion import envelope
from om_server.ingestion.store import DeadLetter
from om_server.storage.tenancy import seeing_everybody
from tests.e2e.tenant import awaited

if TYPE_CHECKING:
    from tests.e2e.installation import Installation
    from tests.e2e.tenant import Tenant

_TOKENS = {"provider": "OPENAI", "model": "gpt-4o", "input_tokens": 1000, "output_tokens": 500}


def ingest(tenant: Tenant, *events: dict[str, Any], expect: int = 202) -> dict[str, Any]:
    answer: dict[str, Any] = tenant.post("/v1/events/ingest", {"events": list(events)}, expect=expect)
    return answer


def listed(tenant: Tenant, count: int, query: str = "") -> list[dict[str, Any]]:
    """Wait until so many events are settled and give those that the query selects."""
    awaited(lambda: tenant.get("/v1/events")["pagination"]["total"] >= count)
    rows: list[dict[str, Any]] = tenant.get(f"/v1/events{query}")["data"]
    return rows


def set_aside(installation: Installation, tenant: Tenant, event_id: str) -> str:
    """Make a dead letter as a worker that could not settle an event would have."""
    now = system_clock()
    usage = Usage((Quantity("input_tokens", 1000, Certainty.MEASURED),))
    event = Event(
        organization_id=tenant.organization_id,
        source=SOURCE_API,
        event_id=event_id,
        event_type=EventType.TOKEN_USAGE,
        event_time=now,
        receive_time=now,
        attribution=Attribution(feature_id="ai-chat"),
        lines=(UsageLine("openai", "gpt-4o", usage),),
    )
    letter_id = installation.platform.ids.new("dlq")
    letter = DeadLetter(
        organization_id=tenant.organization_id,
        dead_letter_id=letter_id,
        source=SOURCE_API,
        event_id=event_id,
        reason="DEPENDENCY_UNAVAILABLE",
        message="a part of the server was away",
        attempt_count=5,
        envelope=envelope.pack([event]),
        receive_time=now,
        create_time=now,
    )
    database = installation.stored.database
    with seeing_everybody():
        database.write(lambda: letter.save(force_insert=True))
    return letter_id


@pytest.mark.acceptance("B-085", "B-086", "B-087", "B-094")
def test_the_documented_python_example_is_taken(installation: Installation) -> None:
    """An id of the caller's own, a provider in lower case, and a time without a zone, which is UTC."""
    tenant = installation.tenant("100")
    moment = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=3)
    example = {"customer_id": "customer_1", "user_id": "user_1", "feature_id": "chat", "event_id": "evt_123"}

    ingest(tenant, example | _TOKENS | {"provider": "openai", "timestamp": moment.isoformat()})

    (row,) = listed(tenant, 1)
    assert (row["id"], row["provider"], row["creditsBurned"]) == ("evt_123", "OPENAI", "7.5")
    assert row["timestamp"] == f"{moment.isoformat(timespec='milliseconds')}Z"
    assert row["flags"] == []


def test_a_future_time_is_moved_to_the_receipt_and_flagged(installation: Installation) -> None:
    tenant = installation.tenant("100")
    before = datetime.now(UTC)

    ingest(tenant, {"event_id": "e1", **_TOKENS, "timestamp": (before + timedelta(days=2)).isoformat()})

    (row,) = listed(tenant, 1)
    assert before - timedelta(seconds=1) <= datetime.fromisoformat(row["timestamp"]) <= datetime.now(UTC)
    assert row["flags"] == ["time_clamped"]


@pytest.mark.acceptance("B-088", "B-089", "B-090", "B-091", "B-097")
def test_every_type_and_any_provider_is_taken(installation: Installation) -> None:
    tenant = installation.tenant("1000")
    film: dict[str, Any] = {"provider": "RUNWAY", "model": "gen-4", "duration_seconds": 2.5}
    events: list[dict[str, Any]] = [
        {"event_type": "TOKEN_USAGE", **_TOKENS},
        {"event_type": "image_generation", "provider": "openai", "model": "dall-e-3", "image_count": 2},
        {"event_type": "VIDEO_GENERATION", **film},
        {
            "event_type": "AUDIO_PROCESSING",
            "provider": "CUSTOM_PROVIDER",
            "model": "m",
            "duration_seconds": 3,
        },
        {"event_type": "API_CALL"},
        {"event_type": "featureAccess"},
        {"event_type": "CUSTOM", "unit_type": "pages", "quantity": 10.0},
    ]

    answer = ingest(tenant, *[{"event_id": f"e{n}", **event} for n, event in enumerate(events)])

    assert (answer["accepted"], answer["rejected"]) == (7, 0)
    assert {row["id"]: row["eventType"] for row in listed(tenant, 7)} == {
        "e0": "TOKEN_USAGE",
        "e1": "IMAGE_GENERATION",
        "e2": "VIDEO_GENERATION",
        "e3": "AUDIO_PROCESSING",
        "e4": "API_CALL",
        "e5": "FEATURE_ACCESS",
        "e6": "CUSTOM",
    }
    assert tenant.get("/v1/events/dlq")["counts"] == {"active": 0}


def test_a_custom_quantity_in_fractions_is_kept(installation: Installation) -> None:
    tenant = installation.tenant("100")

    ingest(tenant, {"event_id": "e1", "event_type": "CUSTOM", "unit_type": "pages", "quantity": 1.55})

    (event,) = tenant.events()
    (quantity,) = event["event"]["lines"][0]["usage"]["quantities"]
    assert (quantity["unit"], quantity["amount"]) == ("custom:pages", "1550000")
    (row,) = listed(tenant, 1)
    # Nobody said what a page costs: that is not known, and not free.
    assert row["creditsBurned"] is None


@pytest.mark.acceptance("B-092", "B-093", "B-096")
def test_each_event_of_a_batch_has_its_own_answer(installation: Installation) -> None:
    tenant = installation.tenant("100")
    good = {"event_id": "good", **_TOKENS}
    ingest(tenant, good)
    listed(tenant, 1)

    answer = ingest(
        tenant,
        good,
        good | {"input_tokens": 1},
        {"event_id": "negative", **_TOKENS, "input_tokens": -1},
        {"event_id": "x" * 256, **_TOKENS},
        {**_TOKENS},
        {"event_id": "fine", **_TOKENS, "unknown": "ignored"},
    )

    assert [result["status"] for result in answer["results"]] == [
        "duplicate",
        *["rejected"] * 4,
        "accepted",
    ]
    assert answer["results"][1]["reason"] == "EVENT_CONFLICT"
    assert [row["id"] for row in listed(tenant, 2)] == ["fine", "good"]
    assert tenant.get("/v1/credits/balance")["data"]["balance"] == "85"


def test_an_idempotency_key_names_one_event(installation: Installation) -> None:
    tenant = installation.tenant("100")
    event = {"event_id": "e1", "idempotency_key": "key-1", **_TOKENS}
    ingest(tenant, event)
    listed(tenant, 1)

    same = ingest(tenant, event, expect=200)
    other = ingest(tenant, event | {"event_id": "e2", "input_tokens": 7}, expect=400)

    assert same["status"] == "all_duplicates"
    assert other["results"][0]["reason"] == "EVENT_CONFLICT"
    assert tenant.get("/v1/credits/balance")["data"]["balance"] == "92.5"


def test_the_same_event_of_two_organizations_is_two_events(installation: Installation) -> None:
    event = {"event_id": "shared", "idempotency_key": "shared", **_TOKENS}
    for tenant in (installation.tenant("100"), installation.tenant("100")):
        assert ingest(tenant, event)["accepted"] == 1
        listed(tenant, 1)
        assert tenant.get("/v1/credits/balance")["data"]["balance"] == "92.5"


def test_the_list_shows_whose_event_it_was(installation: Installation) -> None:
    tenant = installation.tenant()

    ingest(tenant, {"event_id": "e1", "user_id": "u1", "customer_id": "c1", "event_type": "API_CALL"})

    (row,) = listed(tenant, 1)
    assert (row["userId"], row["customerId"], row["sandbox"]) == ("u1", "c1", False)
    assert row["teamId"].startswith("team_")


@pytest.mark.acceptance("B-095")
def test_the_list_is_filtered(installation: Installation) -> None:
    tenant = installation.tenant()
    day = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
    ingest(
        tenant,
        {"event_id": "a", "user_id": "u1", "customer_id": "c1", "feature_id": "chat", **_TOKENS},
        {"event_id": "b", "event_type": "API_CALL", "timestamp": day.isoformat(), "metadata": {"page": 2}},
        {"event_id": "c", "user_id": "u2", "provider": "anthropic", "model": "m", "input_tokens": 1},
    )
    listed(tenant, 3)

    def found(query: str) -> set[str]:
        return {row["id"] for row in listed(tenant, 3, f"?{query}")}

    assert found("userId=u1,u2") == {"a", "c"}
    assert found("customer_id=c1") == {"a"}
    assert found(f"customerId={tenant.organization_id}") == {"a", "b", "c"}
    assert found("feature_id=chat&provider=OpenAI") == {"a"}
    assert found("model=m") == {"c"}
    assert found("eventType=api_call") == {"b"}
    assert found("event_type=API_CALL,TOKEN_USAGE") == {"a", "b", "c"}
    assert found(f"startDate={day.date()}&endDate={day.date()}") == {"b"}
    assert found("sandbox=true") == set()
    assert found("sandbox=false") == {"a", "b", "c"}
    (row,) = listed(tenant, 3, "?eventType=API_CALL")
    assert row["metadata"] == {"page": 2}
    page = tenant.get("/v1/events?userId=u1,u2&limit=1&offset=1")
    assert ([one["id"] for one in page["data"]], page["pagination"]["total"]) == (["a"], 2)


def test_an_event_with_the_published_id_of_the_organization_is_its_own(installation: Installation) -> None:
    tenant = installation.tenant()
    own_id = tenant.get("/v1/customers/me")["data"]["id"]

    ingest(tenant, {"event_id": "e1", "customer_id": own_id.upper(), "event_type": "API_CALL"})

    (row,) = listed(tenant, 1, f"?customerId={own_id}")
    assert row["customerId"] is None


@pytest.mark.parametrize(
    "query", ["limit=0", "offset=-1", "startDate=soon", "eventType=NOTHING", "sandbox=perhaps"]
)
def test_a_list_that_cannot_be_is_refused(installation: Installation, query: str) -> None:
    refused = installation.tenant().get(f"/v1/events?{query}", expect=400)

    assert refused["code"] == "FST_ERR_VALIDATION"


def test_a_batch_of_more_than_a_mebibyte_is_taken(installation: Installation) -> None:
    tenant = installation.tenant()
    filler = {"text": "x" * 2000}

    answer = ingest(
        tenant, *[{"event_id": f"e{n}", "event_type": "API_CALL", "metadata": filler} for n in range(700)]
    )

    assert answer["accepted"] == 700


def test_a_dead_letter_is_listed_and_replayed(installation: Installation) -> None:
    tenant = installation.tenant("100")
    letter_id = set_aside(installation, tenant, "e1")

    found = tenant.get("/v1/events/dlq")
    replayed = tenant.post("/v1/events/dlq/replay", {"jobIds": [letter_id]})
    again = tenant.post("/v1/events/dlq/replay", {"jobIds": [letter_id]})

    assert found["counts"] == {"active": 1}
    (item,) = found["items"]
    assert item == {
        "id": letter_id,
        "name": "dlq-event",
        "data": {
            "event_id": "e1",
            "enqueued_at": item["data"]["enqueued_at"],
            "attempts": 5,
            "event_type": "TOKEN_USAGE",
            "customer_id": None,
            "user_id": None,
            "team_id": None,
            "feature_id": "ai-chat",
            "provider": "OPENAI",
            "model": "gpt-4o",
            "input_tokens": 1000,
            "output_tokens": None,
            "timestamp": item["data"]["timestamp"],
            "metadata": None,
            "idempotency_key": None,
        },
        "timestamp": item["timestamp"],
        "failedReason": "a part of the server was away",
    }
    assert abs(item["timestamp"] / 1000 - time.time()) < 60
    assert replayed == {"message": "Jobs replayed successfully", "count": 1, "failed": []}
    assert again == {"message": "No jobs to replay", "count": 0, "failed": []}
    assert tenant.get("/v1/events/dlq") == {"counts": {"active": 0}, "items": []}
    assert tenant.get("/v1/credits/balance")["data"]["balance"] == "97.5"


@pytest.mark.parametrize(("body", "count"), [(None, 2), ({}, 2), ({"jobIds": []}, 0)])
def test_without_a_list_all_are_replayed(
    installation: Installation, body: dict[str, object] | None, count: int
) -> None:
    tenant = installation.tenant()
    for event_id in ("e1", "e2"):
        set_aside(installation, tenant, event_id)

    headers = {"X-API-Key": tenant.key}
    content = None if body is None else json.dumps(body)
    answer = tenant.web.post("/v1/events/dlq/replay", headers=headers, content=content)

    assert answer.json()["count"] == count


def test_dead_letters_of_one_are_nothing_to_another(installation: Installation) -> None:
    ours, theirs = installation.tenant("100"), installation.tenant("100")
    letter_id = set_aside(installation, ours, "e1")

    assert theirs.get("/v1/events/dlq") == {"counts": {"active": 0}, "items": []}
    assert theirs.post("/v1/events/dlq/replay", {"jobIds": [letter_id]})["count"] == 0
    assert theirs.post("/v1/events/dlq/replay", {})["count"] == 0
    assert ours.get("/v1/events/dlq")["counts"] == {"active": 1}
    assert ours.web.get("/v1/events/dlq").status_code == 401


@pytest.mark.parametrize("body", [{"jobIds": "all"}, {"jobIds": [1]}, {"jobIds": ["x"] * 1001}, []])
def test_a_wrong_replay_is_refused(installation: Installation, body: object) -> None:
    tenant = installation.tenant()

    assert tenant.post("/v1/events/dlq/replay", body, expect=400)["code"] == "FST_ERR_VALIDATION"


def test_the_state_of_ingestion_is_told_to_who_has_a_key(installation: Installation) -> None:
    tenant = installation.tenant()

    info = tenant.get("/v1/events/info")

    assert info == {
        "status": "ready",
        "timestamp": info["timestamp"],
        "services": {"database": "connected", "queue": "connected"},
    }
    assert tenant.web.get("/v1/events/info").status_code == 401
