from __future__ import annotations

import pytest

from om_proxy.call.route import Route, RouteTable, Target, plain_model
from om_proxy.providers import all_providers
from om_proxy.providers.gemini import Gemini
from om_proxy.refusals.problem import misrouted


def table() -> RouteTable:
    return RouteTable(route for provider in all_providers() for route in provider.routes)


def match(path: str, method: str = "POST") -> Target | None:
    return table().match(method, path)


@pytest.mark.parametrize(
    ("path", "provider", "upstream"),
    [
        ("/v1/chat/completions", "openai", "/v1/chat/completions"),
        ("/v1/messages", "anthropic", "/v1/messages"),
        ("/v1/v1/messages", "anthropic", "/v1/messages"),
    ],
)
def test_an_exact_path_goes_where_the_list_says(path: str, provider: str, upstream: str) -> None:
    target = match(path)

    assert target is not None
    assert (target.route.provider, target.upstream_path, target.model) == (provider, upstream, None)


@pytest.mark.parametrize("version", ["v1", "v1beta"])
@pytest.mark.parametrize("action", ["generateContent", "streamGenerateContent"])
@pytest.mark.parametrize("colon", [":", "%3A", "%3a"])
def test_the_model_is_read_from_a_gemini_path(version: str, action: str, colon: str) -> None:
    target = match(f"/{version}/models/gemini-2.0-flash{colon}{action}")

    assert target is not None
    assert target.model == "gemini-2.0-flash"
    assert target.route.operation == action
    assert target.upstream_path == f"/{version}/models/gemini-2.0-flash:{action}"


def test_a_model_goes_upstream_as_one_segment() -> None:
    target = match("/v1beta/models/tuned%2Fmine:latest:generateContent")

    assert target is not None
    assert target.model == "tuned/mine:latest"
    assert target.upstream_path == "/v1beta/models/tuned%2Fmine%3Alatest:generateContent"


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/",
        "/v1//chat/completions",
        "/v1/chat/completions;x=1",
        "/V1/chat/completions",
        "/v1/chat%2Fcompletions",
        "/v1/%2e%2e/v1/messages",
        "/v1/../v1/messages",
        "/v1/messages/batches/",
        "/v1/messages/sessions",
        "/v1beta/models/:generateContent",
        "/v1beta/models/..:generateContent",
        "/v1beta/models/../files:generateContent",
        "/v1beta/models/%2e%2e%2fx:generateContent",
        "/v1beta/models/..%2Fx:generateContent",
        "/v1beta/models/a//b:generateContent",
        "/v1beta/models/a%252Fb:generateContent",
        "/v1beta/models/a?b:generateContent",
        "/v1beta/models/a#b:generateContent",
        "/v1beta/models/a@host:generateContent",
        "/v1beta/models/a\\b:generateContent",
        "/v1beta/models/é:generateContent",
        "/v1beta/models/a\n:generateContent",
        "/v1beta/models/" + "a" * 129 + ":generateContent",
        "/v1beta/models/a:generateContent/x",
        "/v1beta/models/a:computeTokens",
        "/v1beta/models/a:countTokens/operations/b",
        "/v1beta/tunedModels/a:predict",
        "/v1alpha/models/a:generateContent",
        "/x/v1beta/models/a:generateContent",
    ],
)
def test_what_is_not_on_the_list_is_not_forwarded(path: str) -> None:
    assert match(path) is None


@pytest.mark.parametrize("method", ["GET", "PUT", "post", "DELETE"])
def test_another_method_is_another_route(method: str) -> None:
    assert match("/v1/messages", method) is None
    generate = match("/v1beta/models/m:generateContent", method)
    # Of GET, a model may have any name.
    assert generate is None or (method == "GET" and not generate.route.billable)


def test_no_route_is_listed_twice_and_each_names_a_known_provider() -> None:
    routes = table().routes
    names = {provider.name for provider in all_providers()}

    assert len({(route.provider, route.method, route.path) for route in routes}) == len(routes)
    assert {route.provider for route in routes} == names


def test_a_route_may_produce_no_charge() -> None:
    route = Route("openai", "GET", "/v1/models", "models", billable=False)

    assert RouteTable([route]).match("GET", "/v1/models") == Target(route, "/v1/models")


@pytest.mark.parametrize("model", ["gpt-4o", "models/x", "ft:gpt-4o:org::id", "a.b", "a" * 128])
def test_a_plain_model_may_stand_in_a_path(model: str) -> None:
    assert plain_model(model)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "/v1beta/models/m:computeTokens",
            "Unknown action: computeTokens. Expected: generateContent or streamGenerateContent",
        ),
        (
            "/v1/models/m%3ArawPredict",
            "Unknown action: rawPredict. Expected: generateContent or streamGenerateContent",
        ),
        ("/models/..:countTokens", "Invalid request path. Expected: /v1beta/models/<model>:<action>"),
        ("/v1beta/models/m", "Invalid request path. Expected: /v1beta/models/<model>:<action>"),
        ("/v1beta/models/m:<script>", "Invalid request path. Expected: /v1beta/models/<model>:<action>"),
        (
            "/v1beta/models/..:generateContent",
            "Invalid request path. Expected: /v1beta/models/<model>:<action>",
        ),
    ],
)
def test_a_gemini_path_that_asks_for_something_else_is_explained(path: str, message: str) -> None:
    assert match(path) is None
    assert Gemini().misrouted("POST", path) == misrouted(message)


def test_other_paths_are_nobodys() -> None:
    assert all(provider.misrouted("POST", "/v1/files") is None for provider in all_providers())
    assert Gemini().misrouted("GET", "/v1/models/m") is None
