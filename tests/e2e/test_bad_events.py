"""One bad event costs its neighbours nothing, over gRPC and over both REST families; unknown fields."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from om.ingestion.v1 import ingestion_service_pb2 as pb
from om.ingestion.v1 import ingestion_service_pb2_grpc
from om.type.v1 import error_reason_pb2, event_pb2, usage_pb2
from tests.e2e.tenant import PATIENCE_S, Funds, Tenant

if TYPE_CHECKING:
    from tests.e2e.installation import Installation

#: gpt-4o: 1,000 tokens at 2.50 dollars a million and 500 at 10; 1,000 credits a dollar.
_CHARGE = (1_000 * 2_500 + 500 * 10_000) * 1_000
_GRANTED = 100 * 10**9
_ACCEPTED, _REJECTED = pb.INGEST_STATE_ACCEPTED, pb.INGEST_STATE_REJECTED


def _event(event_id: str, unit: str = "input_tokens", amount: int = 1_000) -> event_pb2.UsageEvent:
    quantities = [
        usage_pb2.Quantity(unit=unit, amount=amount, certainty=usage_pb2.CERTAINTY_MEASURED),
        usage_pb2.Quantity(unit="output_tokens", amount=500, certainty=usage_pb2.CERTAINTY_MEASURED),
    ]
    line = event_pb2.UsageLine(
        provider="openai", model="gpt-4o", usage=usage_pb2.Usage(quantities=quantities)
    )
    return event_pb2.UsageEvent(event_id=event_id, lines=[line])


def _published(event_id: str | None, **fields: Any) -> dict[str, Any]:
    event = {
        "event_id": event_id,
        "event_type": "TOKEN_USAGE",
        "feature_id": "ai-chat",
        "provider": "OPENAI",
        "model": "gpt-4o",
        "input_tokens": 1_000,
        "output_tokens": 500,
        **fields,
    }
    return {name: value for name, value in event.items() if value is not None}


def _transcoded(event_id: str, unit: str = "input_tokens", amount: int = 1_000) -> dict[str, Any]:
    quantities = [
        {"unit": unit, "amount": str(amount), "certainty": "CERTAINTY_MEASURED"},
        {"unit": "output_tokens", "amount": "500", "certainty": "CERTAINTY_MEASURED"},
    ]
    line = {"provider": "openai", "model": "gpt-4o", "usage": {"quantities": quantities}}
    return {"eventId": event_id, "lines": [line]}


def _assert_both_neighbours_were_charged(tenant: Tenant) -> None:
    events = tenant.events(2)
    assert {event["event"]["eventId"] for event in events} == {"before", "after"}
    assert {event["charge"]["amountNanos"] for event in events} == {str(_CHARGE)}
    assert tenant.funds() == Funds(_GRANTED - 2 * _CHARGE, 0)
    assert tenant.get("/api/v1/pipeline")["deadLetterCount"] == "0"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (_event("bad", unit="parsecs"), "UNKNOWN_UNIT"),
        (_event("bad", amount=-1), "NEGATIVE_QUANTITY"),
        (_event(""), "EVENT_ID_MISSING"),
    ],
    ids=["unknown-unit", "negative", "no-id"],
)
def test_a_bad_event_is_rejected_alone_over_grpc(
    installation: Installation, bad: event_pb2.UsageEvent, reason: str
) -> None:
    tenant = installation.tenant("100")
    request = pb.IngestEventsRequest(events=[_event("before"), bad, _event("after")])

    with contextlib.closing(grpc.insecure_channel(installation.addresses.grpc)) as channel:
        answer = ingestion_service_pb2_grpc.IngestionServiceStub(channel).IngestEvents(
            request, metadata=(("authorization", f"Bearer {tenant.key}"),), timeout=PATIENCE_S
        )

    assert [result.state for result in answer.results] == [_ACCEPTED, _REJECTED, _ACCEPTED]
    rejected = answer.results[1]
    assert error_reason_pb2.ErrorReason.Name(rejected.reason) == f"ERROR_REASON_{reason}"
    assert rejected.event_id == bad.event_id
    assert rejected.message
    assert (answer.accepted_count, answer.rejected_count) == (2, 1)
    _assert_both_neighbours_were_charged(tenant)


@pytest.mark.parametrize(
    ("bad", "reason", "field"),
    [
        (_published("bad", unit_type=" ", quantity=1), "UNKNOWN_UNIT", "unit_type"),
        (_published("bad", input_tokens=-1), "NEGATIVE_QUANTITY", "input_tokens"),
        # The reason names the field.
        (_published(None), "EVENT_ID_MISSING", None),
    ],
    ids=["unknown-unit", "negative", "no-id"],
)
def test_a_bad_event_is_rejected_alone_on_the_documented_route(
    installation: Installation, bad: dict[str, Any], reason: str, field: str | None
) -> None:
    tenant = installation.tenant("100")

    body = {"events": [_published("before"), bad, _published("after")]}
    answer = tenant.post("/v1/events/ingest", body, expect=202)

    assert (answer["accepted"], answer["rejected"]) == (2, 1)
    assert [result["status"] for result in answer["results"]] == ["accepted", "rejected", "accepted"]
    rejected = answer["results"][1]
    assert (rejected["event_id"], rejected["reason"]) == (bad.get("event_id", ""), reason)
    assert rejected["field"] == field
    assert answer["errors"] == [{"eventId": bad.get("event_id", ""), "error": rejected["message"]}]
    _assert_both_neighbours_were_charged(tenant)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (_transcoded("bad", unit="parsecs"), "UNKNOWN_UNIT"),
        (_transcoded("bad", amount=-1), "NEGATIVE_QUANTITY"),
        (_transcoded(""), "EVENT_ID_MISSING"),
    ],
    ids=["unknown-unit", "negative", "no-id"],
)
def test_a_bad_event_is_rejected_alone_on_the_transcoded_route(
    installation: Installation, bad: dict[str, Any], reason: str
) -> None:
    tenant = installation.tenant("100")

    before, after = _transcoded("before"), _transcoded("after")
    answer = tenant.post("/api/v1/events", {"events": [before, bad, after]})

    assert (answer["acceptedCount"], answer["rejectedCount"]) == (2, 1)
    rejected = answer["results"][1]
    assert (rejected["state"], rejected["reason"]) == ("INGEST_STATE_REJECTED", f"ERROR_REASON_{reason}")
    _assert_both_neighbours_were_charged(tenant)


def test_an_unknown_field_on_a_transcoded_route_is_refused_by_its_name(installation: Installation) -> None:
    tenant = installation.tenant("100")
    misspelt = {**_transcoded("event"), "featureID": "ai-chat"}

    answer = tenant.post("/api/v1/events", {"events": [misspelt]}, expect=400)

    assert answer["error"]["reason"] == "INVALID_ARGUMENT"
    (named,) = answer["error"]["fields"]
    assert (named["field"], named["rule"]) == ("events[0].featureID", "unknown")
    assert tenant.get("/v1/events")["pagination"]["total"] == 0


def test_an_unknown_parameter_on_a_transcoded_route_is_refused_by_its_name(
    installation: Installation,
) -> None:
    tenant = installation.tenant("100")

    answer = tenant.get("/api/v1/events?pagesize=1", expect=400)

    assert [item["field"] for item in answer["error"]["fields"]] == ["pagesize"]


def test_an_unknown_field_on_a_documented_route_is_ignored(installation: Installation) -> None:
    tenant = installation.tenant("100")

    body = {"events": [_published("event", team="blue", provider_response={"id": "1"})], "dry_run": True}
    answer = tenant.post("/v1/events/ingest?pretty=1", body, expect=202)

    assert answer["accepted"] == 1
    tenant.event()
    assert tenant.funds() == Funds(_GRANTED - _CHARGE, 0)
    assert tenant.get("/v1/events?colour=blue")["pagination"]["total"] == 1
