"""That nothing is lost on the way is shown with the way back, in test_convert.py."""

from om.type.v1 import event_pb2
from om_server.core.event import Attribution, Event, EventType, UsageLine
from om_server.core.usage import Usage
from om_server.rpc.convert import USAGE_UNKNOWN
from om_server.rpc.event_writer import event_to_proto, write_event


def reported(usage: Usage) -> Event:
    return Event(
        organization_id="org",
        source="api",
        event_id="e",
        event_type=EventType.TOKEN_USAGE,
        event_time=0,
        receive_time=0,
        attribution=Attribution(),
        lines=(UsageLine("openai", "m", usage),),
    )


def written(usage: Usage) -> event_pb2.UsageLine:
    return event_to_proto(reported(usage)).lines[0]


def test_zero_is_on_the_wire() -> None:
    assert written(Usage.measured(input_tokens=0)).usage.quantities[0].HasField("amount")


def test_an_unknown_quantity_has_no_amount_on_the_wire() -> None:
    assert not written(USAGE_UNKNOWN).usage.quantities[0].HasField("amount")


def test_usage_of_nothing_is_not_left_out() -> None:
    """A line whose usage is absent consumed nobody knows what."""
    assert written(Usage(())).HasField("usage")


def test_empty_metadata_and_times_of_zero_are_there() -> None:
    message = event_to_proto(reported(Usage(())))

    assert message.HasField("metadata")
    assert message.HasField("occur_time")
    assert message.HasField("attribution")
    assert not message.HasField("latency_ms")


def test_an_event_is_written_where_it_stands_as_it_is_alone() -> None:
    event = reported(Usage.measured(input_tokens=3))
    place = event_pb2.UsageEvent()

    write_event(event, place)

    assert place == event_to_proto(event)
