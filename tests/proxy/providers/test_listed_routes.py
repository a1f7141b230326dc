"""Every route of Anthropic and Gemini: whether it is billed, how it is read, and how it is bounded."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from om_proxy.call.route import Route, RouteTable
from om_proxy.call.unmetered import NoUsage
from om_proxy.dialects.openmonetize import provider_asked
from om_proxy.metering.framing import NoDocuments
from om_proxy.providers import all_providers
from tests.proxy.exchange import JSON, call_of, provider_named

#: Method, path without its version, how usage is read, how the bound is found; free where nothing bounds it.
ANTHROPIC = {
    ("POST", "/messages", "usage by model", "text, output cap, tools, other models"),
    ("POST", "/messages/count_tokens", "", ""),
    ("POST", "/messages/batches", "batch job", "sum of its requests"),
    ("GET", "/messages/batches", "", ""),
    ("GET", "/messages/batches/{batch}", "end of a batch in vain", ""),
    ("DELETE", "/messages/batches/{batch}", "", ""),
    ("POST", "/messages/batches/{batch}/cancel", "end of a batch in vain", ""),
    ("GET", "/messages/batches/{batch}/results", "usage of each result", ""),
    ("GET", "/models", "", ""),
    ("GET", "/models/{model}", "", ""),
    ("POST", "/files", "", ""),
    ("GET", "/files", "", ""),
    ("GET", "/files/{file}", "", ""),
    ("DELETE", "/files/{file}", "", ""),
    ("GET", "/files/{file}/content", "", ""),
}
GEMINI = {
    (
        "POST",
        "/models/{model}:generateContent",
        "usageMetadata of the last frame",
        "text, output cap, candidateCount",
    ),
    (
        "POST",
        "/models/{model}:streamGenerateContent",
        "usageMetadata of the last frame",
        "text, output cap, candidateCount",
    ),
    ("POST", "/models/{model}:countTokens", "", ""),
    (
        "POST",
        "/tunedModels/{model}:generateContent",
        "usageMetadata of the last frame",
        "text, output cap, candidateCount",
    ),
    (
        "POST",
        "/tunedModels/{model}:streamGenerateContent",
        "usageMetadata of the last frame",
        "text, output cap, candidateCount",
    ),
    ("POST", "/tunedModels/{model}:countTokens", "", ""),
    ("POST", "/models/{model}:embedContent", "usageMetadata, if any", "text"),
    ("POST", "/models/{model}:batchEmbedContents", "usageMetadata, if any", "text"),
    ("POST", "/models/{model}:predict", "images that came back", "sampleCount"),
    ("POST", "/models/{model}:predictLongRunning", "video operation", "sampleCount x durationSeconds"),
    ("GET", "/models/{model}/operations/{operation}", "end of a video operation", ""),
    ("GET", "/models", "", ""),
    ("GET", "/models/{model}", "", ""),
    ("POST", "/cachedContents", "tokens x hours of a cache", "text x ttl"),
    ("GET", "/cachedContents", "", ""),
    ("GET", "/cachedContents/{cache}", "", ""),
    ("DELETE", "/cachedContents/{cache}", "", ""),
    ("POST", "/interactions", "usage of an interaction", "text, output cap"),
    ("GET", "/interactions/{interaction}", "end of a background interaction", ""),
    ("DELETE", "/interactions/{interaction}", "", ""),
    ("POST", "/interactions/{interaction}/cancel", "end of a background interaction", ""),
    ("GET", "/files", "", ""),
    ("GET", "/files/{file}", "", ""),
    ("DELETE", "/files/{file}", "", ""),
}
SHIM = {
    ("POST", "/v1beta/openai/chat/completions", "last usage, thinking by its total", "text, output cap, n"),
    ("POST", "/v1beta/openai/embeddings", "usage, if any", "input"),
    ("POST", "/v1beta/openai/images/generations", "pieces", "n"),
    ("GET", "/v1beta/openai/models", "", ""),
    ("GET", "/v1beta/openai/models/{model}", "", ""),
}
ROUTES = [route for name in ("anthropic", "google") for route in provider_named(name).routes]


def listed(routes: tuple[Route, ...]) -> set[tuple[str, str, str, str]]:
    return {(route.method, route.path, str(route.usage), str(route.bound)) for route in routes}


def under(prefix: str, rows: set[tuple[str, str, str, str]]) -> set[tuple[str, str, str, str]]:
    return {(method, f"{prefix}{path}", usage, bound) for method, path, usage, bound in rows}


def test_anthropic_s_routes_are_these_also_behind_a_doubled_version() -> None:
    routes = provider_named("anthropic").routes

    assert listed(routes) == under("/v1", ANTHROPIC) | under("/v1/v1", ANTHROPIC)
    assert all((route.upstream_path or route.path).count("/v1") == 1 for route in routes)


def test_gemini_s_routes_are_these_under_every_version_and_none() -> None:
    uploads = {("POST", f"/upload{version}/files", "", "") for version in ("/v1beta", "/v1", "")}
    expected = under("/v1beta", GEMINI) | under("/v1", GEMINI) | GEMINI | SHIM | uploads

    assert listed(provider_named("google").routes) == expected


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.provider} {route.method} {route.path}")
def test_a_route_is_billed_exactly_where_something_bounds_it(route: Route) -> None:
    assert route.billable is (route.bound != "")


@pytest.mark.parametrize(
    "route",
    [route for route in ROUTES if not route.usage],
    ids=lambda route: f"{route.provider} {route.method} {route.path}",
)
def test_nothing_of_a_route_without_usage_is_read(route: Route) -> None:
    path = route.path
    for name in ("model", "batch", "file", "cache", "interaction"):
        path = path.replace(f"{{{name}}}", "x-1")
    call = call_of(path, b"\xff not json", method=route.method, provider=route.provider)
    provider = provider_named(route.provider)

    assert call.body == b"\xff not json"
    assert not call.billable
    assert isinstance(provider.reader(call), NoUsage)
    assert isinstance(provider.framing(call, JSON), NoDocuments)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/x", "/v1/files", "/v1/files/x"])
@pytest.mark.parametrize(
    ("headers", "query", "provider"),
    [
        ([("anthropic-version", "2023-06-01"), ("Authorization", "Bearer x")], "", "anthropic"),
        ([("x-goog-api-key", "x")], "", "google"),
        ([("x-goog-api-client", "google-genai-sdk/3.4")], "pageSize=1", "google"),
        ([], "key=x", "google"),
        ([("Authorization", "Bearer x")], "", "openai"),
        ([], "monkey=x", "openai"),
    ],
)
def test_a_path_that_several_have_is_whose_client_asks(
    path: str, headers: list[tuple[str, str]], query: str, provider: str
) -> None:
    table = RouteTable(route for one in all_providers() for route in one.routes)
    target = table.match("GET", path, asked=provider_asked(CIMultiDict(headers), query))

    assert target is not None
    assert target.route.provider == provider


def test_a_name_in_a_path_is_one_segment_of_it() -> None:
    table = RouteTable(provider_named("anthropic").routes)

    found = table.match("GET", "/v1/messages/batches/msgbatch_01/results")

    assert found is not None
    assert (found.upstream_path, dict(found.names)) == (
        "/v1/messages/batches/msgbatch_01/results",
        {"batch": "msgbatch_01"},
    )
    for name in ("..", ".", "a/b", "a%2F..%2Fb", "a?b", "%2e%2e", "a%00", ""):
        assert table.match("GET", f"/v1/messages/batches/{name}/results") is None


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_an_operation_is_named_as_its_call_was_told(version: str) -> None:
    path = f"/{version}/models/veo-3.0-generate-001/operations/op-1"
    call = call_of(path, b"", method="GET")

    assert call.resource == "models/veo-3.0-generate-001/operations/op-1"
    assert call.model == "veo-3.0-generate-001"
