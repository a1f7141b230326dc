"""Streams of the document over the whole platform: what comes is what the document says of each part."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from openapi_schema_validator import OAS30Validator

from om_server.rpc.caller import Principal, Scope
from om_server.rpc.contract import SERVICES
from tests.openapi.operation import DOCUMENT, Operation, operations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.openapi.site import Site

_STREAMS = {
    operation.name: operation for operation in operations() if operation.content.get("x-grpc-streaming")
}
_WATCH = _STREAMS["AnalyticsService_WatchEvents"]


@pytest.fixture(scope="module")
def web(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.rest, timeout=30) as client:
        yield client


def bearer(secret: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}", **more}


def check(operation: Operation, part: Any) -> None:
    """Fail if a part of an answer is not what the document says."""
    (media,) = operation.content["responses"]["200"]["content"].values()
    # References lead into the document, so it is a part of the schema.
    schema = {**media["schema"], "components": DOCUMENT["components"]}
    OAS30Validator(schema).validate(part)


def told(answer: httpx.Response) -> Iterator[dict[str, str]]:
    """The fields of each block of a text/event-stream; a comment has no name."""
    block: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            block[name] = value
        elif block:
            yield block
            block = {}


def test_every_stream_that_a_tenant_may_call_has_an_http_form() -> None:
    callers = {rpc.path: rpc.access.allow for rpcs in SERVICES.values() for rpc in rpcs if rpc.streaming}
    for_tenants = {f"/{path}" for path, allow in callers.items() if allow != {Principal.SERVICE}}

    assert {operation.content["x-grpc-method"] for operation in _STREAMS.values()} == for_tenants


def test_settled_events_are_watched_and_resumed_behind_the_last_id(site: Site, web: httpx.Client) -> None:
    headers = bearer(site.ours.new_key(Scope.READ).secret)
    with web.stream("GET", _WATCH.path, headers=headers) as answer:
        watching = told(answer)
        sign = next(watching)
        site.theirs.make_event_id()
        event_id = site.ours.make_event_id()
        found, behind = next(watching), next(watching)
    missed = site.ours.make_event_id()
    with web.stream("GET", _WATCH.path, headers=headers | {"last-event-id": behind["id"]}) as answer:
        again = next(block for block in told(answer) if "data" in block)

    assert sign.keys() == behind.keys() == {"", "id"}
    assert [json.loads(block["data"])["event"]["event"]["eventId"] for block in (found, again)] == [
        event_id,
        missed,
    ]
    for block in (found, again):
        check(_WATCH, json.loads(block["data"]))


@pytest.mark.parametrize(
    ("cursor", "reason"), [("inc_other.7", "CURSOR_EXPIRED"), ("soon", "INVALID_ARGUMENT")]
)
def test_a_cursor_that_leads_nowhere_is_an_error_and_no_stream(
    site: Site, web: httpx.Client, cursor: str, reason: str
) -> None:
    headers = bearer(site.ours.key(Scope.READ).secret, **{"last-event-id": cursor})

    answer = web.get(_WATCH.path, headers=headers)

    assert (answer.status_code, answer.json()["error"]["reason"]) == (400, reason)


def test_a_session_cookie_watches_as_a_browser_does(site: Site, web: httpx.Client) -> None:
    """EventSource sends no header of its own, but the cookie."""
    cookie = f"om_session={site.ours.credential(Principal.OWNER)}"

    with web.stream("GET", _WATCH.path, headers={"cookie": cookie}) as answer:
        assert next(told(answer))[""] == "alive"


def test_an_export_is_every_event_of_the_range_as_a_line(site: Site, web: httpx.Client) -> None:
    operation = _STREAMS["AnalyticsService_ExportEvents"]
    user_event, other = site.ours.make_event_id(), site.theirs.make_event_id()

    answer = web.get(operation.path, headers=bearer(site.ours.key(Scope.ADMIN).secret))

    events = [json.loads(line) for line in answer.text.splitlines()]
    for event in events:
        check(operation, event)
    ids = [event["event"]["eventId"] for event in events]
    assert user_event in ids
    assert other not in ids


def test_a_simulation_is_its_states_and_the_last_is_the_result(site: Site, web: httpx.Client) -> None:
    operation = _STREAMS["RatingService_SimulateBurnTable"]
    site.ours.make_event_id()
    now = datetime.now(UTC)
    body = {
        "burnTable": {
            "displayName": "Free",
            "rules": [{"rates": [{"unit": "input_tokens", "amountPerMillion": "0"}]}],
        },
        "startTime": (now - timedelta(hours=1)).isoformat(),
        "endTime": (now + timedelta(minutes=1)).isoformat(),
    }

    answer = web.post(operation.path, json=body, headers=bearer(site.ours.key(Scope.ADMIN).secret))

    states = [json.loads(line) for line in answer.text.splitlines()]
    for state in states:
        check(operation, state)
    assert int(states[-1]["eventCount"]) > 0
    assert states[-1]["chargeAfter"]["amountNanos"] == "0"
    assert int(states[-1]["chargeBefore"]["amountNanos"]) > 0
