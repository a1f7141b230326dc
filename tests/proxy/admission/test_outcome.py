from __future__ import annotations

import orjson
import pytest
from google.protobuf import json_format

from om.ingestion.v1 import ingestion_service_pb2
from om.type.v1 import event_pb2, usage_pb2
from om_proxy.admission import outcome
from om_proxy.admission.outcome import METADATA_DEPTH_MAX
from om_proxy.funding.grant import Grant
from om_proxy.metering.reading import EndedJob, Line, Metered
from om_proxy.metering.usage import Certainty, Quantity, Unit, Usage
from tests.proxy.exchange import CHAT_PATH, call_of
from tests.proxy.fake_servicer import LEASE_ID, LEASE_NANOS
from tests.proxy.intents import intent_for
from tests.proxy.one_edge import CHAT

CALL = call_of(CHAT_PATH, CHAT)
USAGE = Usage((Quantity(Unit.INPUT_TOKENS, 3), Quantity(Unit.OUTPUT_TOKENS, 2)))
LINE = Line("openai", "gpt-4o-2024-08-06", "gpt-4o", "standard", USAGE, (("size", "big"),))


def consumed(*lines: Line, raw_usage: bytes | None = None) -> event_pb2.UsageEvent:
    return outcome.consumed(
        intent_for(CALL), Metered(lines, raw_usage=raw_usage), http_status=200, latency_ms=7
    )


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return f'{{"a":{opening * (depth - 1)}1{closing * (depth - 1)}}}'.encode()


def test_a_reading_becomes_an_event_that_names_everything_that_settlement_needs() -> None:
    event = consumed(LINE, raw_usage=b'{"total_tokens":5}')

    assert json_format.MessageToDict(event, preserving_proto_field_name=True) == {
        "event_id": "evt_1",
        "source": "proxy",
        "occur_time": "2023-11-14T22:13:20.123456Z",
        "type": "EVENT_TYPE_TOKEN_USAGE",
        "attribution": {"customer_id": "acme", "user_id": "user_1", "feature_id": "chat"},
        "key_id": intent_for(CALL).key.key_id,
        "outcome": "OUTCOME_CHARGED",
        "wallet_id": "wal_test",
        "http_status": 200,
        "latency_ms": "7",
        "funding": [
            {"lease_id": LEASE_ID, "bound_nanos": str(LEASE_NANOS), "retained_nanos": str(LEASE_NANOS)}
        ],
        "lines": [
            {
                "provider": "openai",
                "model": "gpt-4o-2024-08-06",
                "requested_model": "gpt-4o",
                "tier": "standard",
                "usage": {
                    "quantities": [
                        {"unit": "input_tokens", "amount": "3", "certainty": "CERTAINTY_MEASURED"},
                        {"unit": "output_tokens", "amount": "2", "certainty": "CERTAINTY_MEASURED"},
                    ]
                },
                "attributes": {"size": "big"},
                "raw_usage_json": '{"total_tokens":5}',
            }
        ],
    }


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        (Quantity(Unit.OUTPUT_TOKENS, 2, Certainty.ESTIMATED), usage_pb2.CERTAINTY_ESTIMATED),
        (Quantity(Unit.OUTPUT_TOKENS, None, Certainty.UNKNOWN), usage_pb2.CERTAINTY_UNKNOWN),
    ],
)
def test_one_figure_that_is_not_the_providers_makes_an_estimate(quantity: Quantity, expected: int) -> None:
    event = consumed(LINE, Line("openai", "m", "m", "standard", Usage((quantity,))))

    (sent,) = event.lines[1].usage.quantities
    assert event.outcome == event_pb2.OUTCOME_ESTIMATED
    assert sent.certainty == expected
    assert sent.HasField("amount") is (quantity.amount is not None)


def test_nothing_consumed_is_a_zero_that_gives_the_whole_bound_back() -> None:
    event = consumed()

    assert (event.outcome, event.http_status, len(event.lines)) == (event_pb2.OUTCOME_ZERO, 200, 0)
    assert [(item.bound_nanos, item.retained_nanos) for item in event.funding] == [(LEASE_NANOS, 0)]


def test_who_has_no_wallet_funds_nothing() -> None:
    event = outcome.zero(intent_for(CALL, grant=Grant()))

    assert (event.wallet_id, len(event.funding)) == ("", 0)


def test_a_key_for_tests_makes_a_sandbox_event() -> None:
    assert outcome.zero(intent_for(CALL, test_mode=True)).sandbox


@pytest.mark.parametrize("metadata", [b'{"a":[1,{"b":null}],"c":"d"}', nested(METADATA_DEPTH_MAX)])
def test_metadata_of_the_caller_goes_along(metadata: bytes) -> None:
    event = outcome.zero(intent_for(CALL, metadata=metadata))

    assert json_format.MessageToDict(event.metadata) == orjson.loads(metadata)


@pytest.mark.parametrize("depth", [METADATA_DEPTH_MAX + 1, 40, 900])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_metadata_that_no_server_could_read_is_left_out(depth: int, brackets: tuple[str, str]) -> None:
    event = outcome.zero(intent_for(CALL, metadata=nested(depth, *brackets)))

    assert not event.HasField("metadata")


@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_the_deepest_metadata_that_is_sent_can_be_read(brackets: tuple[str, str]) -> None:
    event = outcome.zero(intent_for(CALL, metadata=nested(METADATA_DEPTH_MAX, *brackets)))
    batch = ingestion_service_pb2.IngestEventsRequest(events=[event])

    assert ingestion_service_pb2.IngestEventsRequest.FromString(batch.SerializeToString()) == batch


def test_a_tier_of_the_callers_cannot_make_the_event_invalid() -> None:
    event = consumed(Line("openai", "m", "m", "x" * 5_000, USAGE))

    assert event.lines[0].tier == "x" * 64


def test_an_answer_that_was_never_read_has_an_unknown_output() -> None:
    event = outcome.unread(intent_for(CALL), http_status=200, latency_ms=1)

    (line,) = event.lines
    assert event.outcome == event_pb2.OUTCOME_ESTIMATED
    assert (line.provider, line.model, line.tier) == ("openai", "gpt-4o", "standard")
    assert [(item.unit, item.amount, item.certainty) for item in line.usage.quantities] == [
        ("input_tokens", -(-len(CHAT) // 4), usage_pb2.CERTAINTY_ESTIMATED),
        ("output_tokens", 0, usage_pb2.CERTAINTY_UNKNOWN),
    ]
    assert [item.retained_nanos for item in event.funding] == [LEASE_NANOS]


BACKGROUND = Metered((LINE,), job_id="resp_1", ended=(EndedJob("resp_1", (LINE,), b'{"total_tokens":5}'),))


def test_deferred_work_keeps_its_whole_bound_under_the_id_of_its_job() -> None:
    event = outcome.consumed(intent_for(CALL), BACKGROUND, http_status=200, latency_ms=7)

    assert (event.outcome, event.job_id) == (event_pb2.OUTCOME_DEFERRED, "resp_1")
    assert [part.retained_nanos for part in event.funding] == [LEASE_NANOS]
    assert event.lines[0].provider == "openai"


def test_a_crash_after_the_job_is_known_leaves_it_deferred_and_not_estimated() -> None:
    event = outcome.progress(intent_for(CALL), BACKGROUND)

    assert (event.outcome, event.job_id) == (event_pb2.OUTCOME_DEFERRED, "resp_1")
    assert outcome.progress(intent_for(CALL), Metered((LINE,))).outcome == event_pb2.OUTCOME_UNKNOWN


def test_the_end_of_a_job_is_an_event_of_its_own_that_nothing_funds() -> None:
    [event] = outcome.job_ends(intent_for(CALL), BACKGROUND)

    assert (event.event_id, event.outcome) == ("job:openai:resp_1", event_pb2.OUTCOME_CHARGED)
    assert (list(event.funding), event.wallet_id, event.job_id) == ([], "", "")
    assert event.lines[0].raw_usage_json == '{"total_tokens":5}'
    assert event.key_id == intent_for(CALL).key.key_id


def test_a_job_that_ended_without_consumption_is_a_zero() -> None:
    [event] = outcome.job_ends(intent_for(CALL), Metered((), ended=(EndedJob("resp_1", ()),)))

    assert (event.outcome, list(event.lines)) == (event_pb2.OUTCOME_ZERO, [])
