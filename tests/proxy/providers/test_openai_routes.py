"""The route table of OpenAI's dialect, row by row, against what the rows promise."""

from __future__ import annotations

import pytest

from om_proxy.call.route import Route, RouteTable
from om_proxy.metering.framing import NoDocuments, SlimBody, WholeBody
from om_proxy.metering.sse import SseParser
from om_proxy.providers.openai import OpenAI
from om_proxy.providers.openai.operation import BOUNDS, USAGES
from om_proxy.providers.openai.routes import OPERATIONS, routes_of
from tests.proxy.exchange import JSON, call_of, meter_in_pieces

ROUTES = OpenAI().routes
BILLABLE = {
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/responses/compact",
    "/v1/embeddings",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/images/variations",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/audio/speech",
    "/v1/videos",
    "/v1/videos/edits",
    "/v1/videos/extensions",
    "/v1/videos/{video_id}/remix",
    "/v1/batches",
}
ENDS = {
    ("GET", "/v1/responses/{response_id}"),
    ("POST", "/v1/responses/{response_id}/cancel"),
    ("GET", "/v1/videos/{video_id}"),
    ("GET", "/v1/batches/{batch_id}"),
    ("POST", "/v1/batches/{batch_id}/cancel"),
}


def written(route: Route) -> str:
    return f"{route.method} {route.path}"


def sample(path: str) -> str:
    return path.replace("{", "a-").replace("}", "-1")


def test_what_is_charged_is_exactly_this() -> None:
    assert {route.path for route in ROUTES if route.billable} == BILLABLE
    assert all(route.method == "POST" for route in ROUTES if route.billable)


def test_the_end_of_deferred_work_is_seen_exactly_here() -> None:
    assert {(route.method, route.path) for route in ROUTES if route.usage.startswith("end of")} == ENDS


@pytest.mark.parametrize("route", ROUTES, ids=written)
def test_a_row_says_how_it_is_bounded_and_how_it_is_read(route: Route) -> None:
    assert route.bound in BOUNDS
    assert route.usage in USAGES
    assert route.billable is bool(route.bound)
    assert route.billable <= bool(route.usage)
    assert not route.upstream_path


@pytest.mark.parametrize("route", ROUTES, ids=written)
def test_a_row_is_found_by_its_path_and_by_nothing_near_it(route: Route) -> None:
    table, path = RouteTable(ROUTES), sample(route.path)

    target = table.match(route.method, path)

    assert target is not None
    assert target.route == route
    assert target.upstream_path == path
    assert table.match("PATCH", path) is None
    assert table.match(route.method, f"{path}/") is None
    assert table.match(route.method, f"{path}/x/y/z") is None


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/a%2Fcontent",
        "/v1/files/..",
        "/v1/files/%2e%2e",
        "/v1/files/a?b",
        "/v1/responses/",
        "/v1/realtime",
        "/v1/conversations",
        "/v1/fine_tuning/jobs",
        "/v1/assistants",
        "/v1/uploads",
        "/v1/organization/costs",
    ],
)
def test_what_is_not_in_the_table_is_not_forwarded(path: str) -> None:
    table = RouteTable(ROUTES)

    assert table.match("GET", path) is None
    assert table.match("POST", path) is None


def test_a_model_is_one_segment_whatever_is_in_its_name() -> None:
    target = RouteTable(ROUTES).match("GET", "/v1/models/ft:gpt-4o:org%2Fx::1")

    assert target is not None
    assert (target.model, target.upstream_path) == (
        "ft:gpt-4o:org/x::1",
        "/v1/models/ft%3Agpt-4o%3Aorg%2Fx%3A%3A1",
    )


def test_of_several_providers_on_a_path_the_one_that_is_asked_is_found() -> None:
    other = Route("other", "GET", "/v1/models", "models", billable=False)
    table = RouteTable((*ROUTES, other))

    for asked, found in (("", "openai"), ("nobody", "openai"), ("other", "other")):
        target = table.match("GET", "/v1/models", asked=asked)
        assert target is not None
        assert target.route.provider == found


def test_a_route_may_be_elsewhere_at_the_provider_and_in_the_simulator() -> None:
    routes = routes_of("azure", prefix="/openai/v1", operations=("chat", "models"), deployments=True)
    table = RouteTable(routes)

    plain = table.match("POST", "/v1/chat/completions")
    deployed = table.match("POST", "/v1/openai/deployments/mine/chat/completions")
    model = table.match("GET", "/v1/models/gpt-5")

    assert plain is not None
    assert deployed is not None
    assert model is not None
    assert (plain.upstream_path, plain.simulated_path) == (
        "/openai/v1/chat/completions",
        "/v1/chat/completions",
    )
    assert deployed.upstream_path == "/openai/deployments/mine/chat/completions"
    assert (deployed.model, deployed.simulated_path) == ("mine", "/v1/chat/completions")
    assert (model.upstream_path, model.simulated_path) == ("/openai/v1/models/gpt-5", "/v1/models/gpt-5")
    assert table.match("GET", "/v1/openai/deployments/mine/models") is None


def test_every_operation_is_in_the_table() -> None:
    assert {route.operation for route in ROUTES} == OPERATIONS


@pytest.mark.parametrize(
    ("method", "path", "content_type", "framing"),
    [
        ("POST", "/v1/chat/completions", JSON, WholeBody),
        ("POST", "/v1/chat/completions", "text/event-stream", SseParser),
        ("POST", "/v1/responses", JSON, SlimBody),
        ("POST", "/v1/embeddings", JSON, SlimBody),
        ("POST", "/v1/images/generations", JSON, SlimBody),
        ("POST", "/v1/audio/speech", "audio/mpeg", NoDocuments),
        ("POST", "/v1/audio/speech", "text/event-stream", SseParser),
        ("GET", "/v1/files/file_1/content", JSON, NoDocuments),
        ("GET", "/v1/videos/video_1/content", "video/mp4", NoDocuments),
    ],
)
def test_an_answer_is_cut_as_its_route_and_type_say(
    method: str, path: str, content_type: str, framing: type[object]
) -> None:
    call = call_of(path, {"model": "m", "input": "x"}, method=method)

    assert type(OpenAI().framing(call, content_type)) is framing


def test_a_free_answer_consumes_nothing_whatever_it_says() -> None:
    call = call_of("/v1/models", b"", method="GET")

    metered = meter_in_pieces(call, [b'{"usage":{"prompt_tokens":9}}'], content_type=JSON)

    assert (metered.lines, metered.ended, metered.flags) == ((), (), frozenset())


def test_the_terminal_event_of_a_response_may_hold_large_images() -> None:
    call = call_of("/v1/responses", {"model": "gpt-5", "input": "x", "stream": True})
    picture = b"A" * (20 << 20)
    usage = b'"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}'
    event = (
        b'data: {"type":"response.completed","response":{"id":"resp_1","status":"completed","model":"gpt-5",'
        b'"output":[{"type":"image_generation_call","result":"' + picture + b'"}],' + usage + b"}}\n\n"
    )

    metered = meter_in_pieces(call, [event[at : at + 65_536] for at in range(0, len(event), 65_536)])

    assert metered.measured
    assert [
        line.usage.amount(quantity.unit) for line in metered.lines for quantity in line.usage.quantities
    ] == [1, 2]
