import contextlib
import itertools
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from om.type.v1 import event_pb2
from om_server.rest.docs import load_document
from om_server.rest.documented.published_event import EventRefused, Refusal, fill_event

DOCUMENT: Any = load_document()
FIELDS = sorted(DOCUMENT["components"]["schemas"]["IngestEvent"]["properties"])


def filled(**published: object) -> event_pb2.UsageEvent:
    target = event_pb2.UsageEvent()
    fill_event(target, {"event_id": "evt_123", **published})
    return target


def quantities(**published: object) -> dict[str, int | None]:
    found = filled(**published).lines[0].usage.quantities
    return {item.unit: item.amount if item.HasField("amount") else None for item in found}


def refusal(**published: object) -> Refusal:
    with pytest.raises(EventRefused) as caught:
        filled(**published)
    return caught.value.refusal


def test_the_documented_token_event() -> None:
    """As the Python guide sends it: an id that is no UUID, a small provider, a time without a zone."""
    event = filled(
        customer_id="cust_456",
        user_id="user_789",
        feature_id="ai-chat",
        event_type="TOKEN_USAGE",
        provider="openai",
        model="gpt-4",
        input_tokens=150,
        output_tokens=75,
        timestamp="2026-01-01T12:00:00.250000",
    )

    assert json_format.MessageToDict(event) == {
        "eventId": "evt_123",
        "occurTime": "2026-01-01T12:00:00.250Z",
        "type": "EVENT_TYPE_TOKEN_USAGE",
        "attribution": {"customerId": "cust_456", "userId": "user_789", "featureId": "ai-chat"},
        "lines": [
            {
                "provider": "openai",
                "model": "gpt-4",
                "usage": {
                    "quantities": [
                        {"unit": "input_tokens", "amount": "150", "certainty": "CERTAINTY_MEASURED"},
                        {"unit": "output_tokens", "amount": "75", "certainty": "CERTAINTY_MEASURED"},
                    ]
                },
            }
        ],
    }


def test_the_documented_image_event() -> None:
    event = filled(
        event_type="IMAGE_GENERATION",
        provider="OPENAI",
        model="dall-e-3",
        image_count=2,
        image_size="1024x1024",
        quality="hd",
    )

    assert quantities(event_type="IMAGE_GENERATION", image_count=2) == {"images": 2}
    assert dict(event.lines[0].attributes) == {"size": "1024x1024", "quality": "hd"}


def test_the_documented_custom_event() -> None:
    assert quantities(event_type="CUSTOM", unit_type="pages", quantity=10.0) == {"custom:pages": 10_000_000}


def test_video_is_kept_to_the_millisecond() -> None:
    event = filled(event_type="VIDEO_GENERATION", duration_seconds=7.3335, resolution="1080p")

    assert quantities(event_type="VIDEO_GENERATION", duration_seconds=7.3335) == {"video_seconds": 7334}
    assert dict(event.lines[0].attributes) == {"resolution": "1080p"}


def test_length_of_audio_is_audio() -> None:
    assert quantities(event_type="AUDIO_PROCESSING", duration_seconds=2) == {"audio_seconds": 2000}


@pytest.mark.parametrize("event_type", ["API_CALL", "FEATURE_ACCESS"])
def test_a_call_is_one_request(event_type: str) -> None:
    assert quantities(event_type=event_type) == {"requests": 1}
    assert quantities(event_type=event_type, quantity=3) == {"requests": 3}
    assert quantities(event_type=event_type, unit_type="lookups", quantity=3) == {"custom:lookups": 3_000_000}
    assert quantities(event_type=event_type, input_tokens=5) == {"input_tokens": 5}


def test_an_image_event_without_a_count_is_one_image() -> None:
    assert quantities(event_type="IMAGE_GENERATION") == {"images": 1}


def test_video_of_no_stated_length_is_unknown_and_not_a_second() -> None:
    assert quantities(event_type="VIDEO_GENERATION") == {"video_seconds": None}


@pytest.mark.parametrize("event_type", ["TOKEN_USAGE", "CUSTOM", "AUDIO_PROCESSING"])
def test_an_event_that_reports_nothing_has_no_line(event_type: str) -> None:
    """The server answers EVENT_EMPTY: nothing reported is not zero."""
    assert not filled(event_type=event_type, provider="openai", model="gpt-4o").lines


def test_an_explicit_zero_is_a_fact() -> None:
    assert quantities(input_tokens=0, output_tokens=0) == {"input_tokens": 0, "output_tokens": 0}


@pytest.mark.parametrize(
    "text", ["TOKEN_USAGE", "token_usage", "Token-Usage", "tokenUsage", " token usage", None, ""]
)
def test_a_type_is_read_in_any_spelling(text: str | None) -> None:
    event = filled(event_type=text, input_tokens=1)

    assert event.type in (event_pb2.EVENT_TYPE_TOKEN_USAGE, event_pb2.EVENT_TYPE_UNSPECIFIED)


@pytest.mark.parametrize("field", FIELDS)
def test_every_documented_field_is_read(field: str) -> None:
    """A value that no field takes is refused by the field's name, so it was looked at."""
    needed = {"unit_type": "x"} if field == "quantity" else {"quantity": 1} if field == "unit_type" else {}

    assert refusal(**{"input_tokens": 1, **needed, field: [1]}).field == field


def test_camel_case_is_read_too() -> None:
    camel = {
        "eventId": "evt_123",
        "userId": "u",
        "featureId": "f",
        "eventType": "IMAGE_GENERATION",
        "imageCount": 2,
        "imageSize": "1024x1024",
        "idempotencyKey": "once",
    }
    snake = {
        "event_id": "evt_123",
        "user_id": "u",
        "feature_id": "f",
        "event_type": "IMAGE_GENERATION",
        "image_count": 2,
        "image_size": "1024x1024",
        "idempotency_key": "once",
    }
    first, second = event_pb2.UsageEvent(), event_pb2.UsageEvent()
    fill_event(first, camel)
    fill_event(second, snake)

    assert first == second
    assert first.idempotency_key == "once"


def test_unknown_keys_are_ignored_and_null_is_absent() -> None:
    assert filled(input_tokens=1, provider=None, tenant="x", provider_response={"a": 1}) == filled(
        input_tokens=1
    )


def test_metadata_is_kept() -> None:
    metadata: dict[str, Any] = {"text": "a", "whole": 1, "part": 0.5, "yes": True, "none": None}
    metadata |= {"list": [1, [], {"deep": "er"}], "object": {"empty": {}}}

    event = filled(input_tokens=1, metadata=metadata)

    assert json_format.MessageToDict(event.metadata) == metadata


def test_empty_metadata_is_not_absent() -> None:
    assert filled(input_tokens=1, metadata={}).HasField("metadata")
    assert not filled(input_tokens=1).HasField("metadata")


def test_metadata_that_a_reader_would_not_follow_is_refused() -> None:
    """Nested deeper, the message could not be read by the server, and that would cost the whole batch."""
    deep: object = "bottom"
    for _ in range(15):
        deep = {"in": deep}
    event = filled(input_tokens=1, metadata={"a": deep})
    assert event_pb2.UsageEvent.FromString(event.SerializeToString()) == event

    assert refusal(input_tokens=1, metadata={"a": {"in": deep}}).field == "metadata"
    assert refusal(input_tokens=1, metadata=[1]).field == "metadata"


@pytest.mark.parametrize(
    ("published", "field", "reason"),
    [
        ({"event_id": 7}, "event_id", "INVALID_ARGUMENT"),
        ({"event_type": "TOKENS"}, "event_type", "INVALID_ARGUMENT"),
        ({"timestamp": "yesterday"}, "timestamp", "INVALID_ARGUMENT"),
        ({"timestamp": 1767225600}, "timestamp", "INVALID_ARGUMENT"),
        ({"user_id": 7}, "user_id", "INVALID_ARGUMENT"),
        ({"input_tokens": "7"}, "input_tokens", "INVALID_ARGUMENT"),
        ({"input_tokens": 1.5}, "input_tokens", "INVALID_ARGUMENT"),
        ({"input_tokens": True}, "input_tokens", "INVALID_ARGUMENT"),
        ({"input_tokens": -1}, "input_tokens", "NEGATIVE_QUANTITY"),
        ({"input_tokens": 2**53 + 1}, "input_tokens", "QUANTITY_OUT_OF_RANGE"),
        ({"duration_seconds": "7"}, "duration_seconds", "INVALID_ARGUMENT"),
        ({"duration_seconds": 1e300}, "duration_seconds", "QUANTITY_OUT_OF_RANGE"),
        ({"unit_type": "pages"}, "quantity", "INVALID_ARGUMENT"),
        ({"event_type": "CUSTOM", "quantity": 1}, "unit_type", "INVALID_ARGUMENT"),
        ({"unit_type": "x" * 65, "quantity": 1}, "unit_type", "UNKNOWN_UNIT"),
        ({"unit_type": "", "quantity": 1}, "unit_type", "UNKNOWN_UNIT"),
        ({"input_tokens": 1, "image_size": 1024}, "image_size", "INVALID_ARGUMENT"),
    ],
)
def test_a_wrong_field_is_named(published: dict[str, object], field: str, reason: str) -> None:
    found = refusal(**published)

    assert (found.field, found.reason) == (field, reason)


@pytest.mark.parametrize("published", [None, [], "event", 7])
def test_an_event_is_an_object(published: object) -> None:
    with pytest.raises(EventRefused):
        fill_event(event_pb2.UsageEvent(), published)


@pytest.mark.parametrize(
    ("name", "unit"),
    [("Pages", "custom:pages"), ("compute hours", "custom:compute_hours"), ("a.b-c", "custom:a.b-c")],
)
def test_a_unit_of_ones_own_gets_a_registered_name(name: str, unit: str) -> None:
    assert quantities(unit_type=name, quantity=1) == {unit: 1_000_000}


@given(st.integers(min_value=0, max_value=10**9), st.integers(min_value=0, max_value=999_999))
def test_a_decimal_is_read_as_it_was_written(whole: int, millionths: int) -> None:
    """A float is not: 1.1 * 1_000_000 is 1100000.0000000002."""
    quantity = float(f"{whole}.{millionths:06d}")

    assert quantities(unit_type="x", quantity=quantity) == {"custom:x": whole * 1_000_000 + millionths}


@given(
    st.dictionaries(
        st.sampled_from(FIELDS) | st.text(max_size=20),
        st.integers() | st.text() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
        max_size=8,
    )
)
def test_any_object_is_read_or_refused(published: dict[str, object]) -> None:
    """No input makes it fail in another way, which would cost the batch."""
    with contextlib.suppress(EventRefused):
        fill_event(event_pb2.UsageEvent(), published)


def test_every_combination_of_quantities_is_one_line() -> None:
    fields: dict[str, dict[str, object]] = {
        "input_tokens": {"input_tokens": 1},
        "output_tokens": {"output_tokens": 2},
        "images": {"image_count": 3},
        "video_seconds": {"duration_seconds": 4},
        "custom:x": {"unit_type": "x", "quantity": 5},
    }
    for size in range(1, len(fields) + 1):
        for units in itertools.combinations(fields, size):
            published = {name: value for unit in units for name, value in fields[unit].items()}
            assert set(quantities(**published)) == set(units)
