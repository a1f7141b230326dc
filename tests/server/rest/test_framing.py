import json
from typing import Any

import pytest

from om.analytics.v1 import analytics_service_pb2 as pb
from om.rating.v1 import rating_service_pb2 as rating_pb
from om_server.rest.errors import library_problem
from om_server.rest.framing import Events, Framing, Lines, framing_of
from om_server.rpc.contract import SERVICES, Rpc

RPCS = {rpc.name: rpc for rpcs in SERVICES.values() for rpc in rpcs if rpc.streaming}


def answering(*media_types: str) -> dict[str, Any]:
    return {"responses": {"200": {"content": {name: {} for name in media_types}}}}


def framing(rpc: str, media_type: str) -> Framing:
    return framing_of(RPCS[rpc], answering(media_type))


def event(event_id: str) -> pb.Event:
    found = pb.Event()
    found.event.event_id = event_id
    return found


def test_an_event_has_its_cursor_for_an_id_and_the_message_on_one_line() -> None:
    message = pb.WatchEventsResponse(event=event("a\nb"), cursor="inc.7")

    first, second, *rest = Events().message(message).decode().split("\n")

    assert first == "id: inc.7"
    assert second.startswith("data: ")
    told = json.loads(second.removeprefix("data: "))
    assert (told["event"]["event"]["eventId"], told["cursor"]) == ("a\nb", "inc.7")
    assert rest == ["", ""]


def test_a_sign_of_life_is_a_comment_that_moves_the_cursor() -> None:
    assert Events().message(pb.WatchEventsResponse(cursor="inc.8")) == b": alive\nid: inc.8\n\n"


def test_the_id_that_a_browser_comes_back_with_is_newer_than_its_address() -> None:
    request = pb.WatchEventsRequest(cursor="inc.1")

    Events().resume(request, {})
    assert request.cursor == "inc.1"
    Events().resume(request, {"last-event-id": "inc.9"})
    assert request.cursor == "inc.9"


def test_a_list_has_a_line_for_each_item_and_another_message_one_line() -> None:
    export, simulation = (
        framing(name, "application/x-ndjson") for name in ("ExportEvents", "SimulateBurnTable")
    )

    lines = export.message(pb.ExportEventsResponse(events=[event("a"), event("b")])).splitlines()
    state = simulation.message(rating_pb.SimulateBurnTableResponse(event_count=3)).splitlines()

    assert [json.loads(line)["event"]["eventId"] for line in lines] == ["a", "b"]
    assert [json.loads(line)["eventCount"] for line in state] == ["3"]
    assert export.message(pb.ExportEventsResponse()) == b""


@pytest.mark.parametrize(("framed", "start"), [(Events(), b"event: error\ndata: "), (Lines("events"), b"")])
def test_a_failure_is_the_body_that_an_error_has(framed: Framing, start: bytes) -> None:
    written = framed.failure(library_problem("UNAVAILABLE"), "req_1")

    assert written.startswith(start)
    error = json.loads(written.removeprefix(start))["error"]
    assert (error["code"], error["requestId"]) == ("UNAVAILABLE", "req_1")
    assert written.endswith(b"}\n\n" if start else b"}\n")


@pytest.mark.parametrize(
    ("rpc", "media_types"),
    [
        # It has no cursor, so a browser could never come back.
        ("ExportEvents", ("text/event-stream",)),
        ("ExportEvents", ("application/json",)),
        ("WatchEvents", ("text/event-stream", "application/x-ndjson")),
    ],
)
def test_a_document_that_cannot_be_served_stops_the_start(rpc: str, media_types: tuple[str, ...]) -> None:
    found: Rpc = RPCS[rpc]

    with pytest.raises(TypeError, match=rpc):
        framing_of(found, answering(*media_types))
