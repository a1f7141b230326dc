import pytest
from google.protobuf.message import Message

from om.account.v1 import account_service_pb2
from om.ingestion.v1 import ingestion_service_pb2
from om.type.v1 import event_pb2, usage_pb2
from om_server.rpc.validation import RequestInvalid, Violation, check, violations


def paths(message: Message) -> list[str]:
    return [violation.field for violation in violations(message)]


def test_a_message_in_shape_passes() -> None:
    check(account_service_pb2.CreateTeamRequest(display_name="Payments"))


def test_a_violation_names_the_field_and_the_rule() -> None:
    [violation] = violations(account_service_pb2.ListTeamsRequest(page_size=-1))

    assert violation == Violation("page_size", "must be greater than or equal to 0", "int32.gte")


def test_every_violation_is_collected_and_the_first_is_the_error() -> None:
    with pytest.raises(RequestInvalid) as raised:
        check(account_service_pb2.ListTeamsRequest(page_size=-1, page_token="x" * 3000))

    assert [violation.field for violation in raised.value.violations] == ["page_size", "page_token"]
    assert raised.value.metadata == {"field": "page_size"}
    assert raised.value.field == "page_size"


def test_a_path_leads_through_lists() -> None:
    quantity = usage_pb2.Quantity(unit="", certainty=usage_pb2.CERTAINTY_UNKNOWN)
    event = event_pb2.UsageEvent(
        event_id="e",
        attribution=event_pb2.Attribution(tags=["fine", ""]),
        lines=[event_pb2.UsageLine(), event_pb2.UsageLine(usage=usage_pb2.Usage(quantities=[quantity]))],
    )

    assert paths(event) == ["attribution.tags[1]", "lines[1].usage.quantities[0].unit"]


@pytest.mark.parametrize(
    ("event", "path"),
    [
        (event_pb2.UsageEvent(event_id="a\0b"), "event_id"),
        (
            event_pb2.UsageEvent(event_id="e", attribution=event_pb2.Attribution(tags=["t", "\0"])),
            "attribution.tags[1]",
        ),
        (
            event_pb2.UsageEvent(event_id="e", lines=[event_pb2.UsageLine(attributes={"size": "\0"})]),
            "lines[0].attributes[size]",
        ),
        (
            event_pb2.UsageEvent(event_id="e", lines=[event_pb2.UsageLine(attributes={"\0": "x"})]),
            "lines[0].attributes[\\0]",
        ),
    ],
)
def test_text_that_postgresql_cannot_store_is_refused(event: event_pb2.UsageEvent, path: str) -> None:
    assert paths(event) == [path]


def test_a_zero_is_no_zero_character() -> None:
    quantity = usage_pb2.Quantity(unit="input_tokens", amount=0, certainty=usage_pb2.CERTAINTY_MEASURED)
    event = event_pb2.UsageEvent(
        event_id="e", lines=[event_pb2.UsageLine(usage=usage_pb2.Usage(quantities=[quantity]))]
    )

    assert b"\0" in event.SerializeToString()
    assert paths(event) == []


def test_one_bad_event_does_not_refuse_its_batch() -> None:
    bad = event_pb2.UsageEvent(event_id="", source="\0")

    assert paths(ingestion_service_pb2.IngestEventsRequest(events=[bad])) == []
    assert paths(ingestion_service_pb2.IngestEventsRequest()) == ["events"]
