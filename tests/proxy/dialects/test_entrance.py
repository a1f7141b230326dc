"""Every route of both dialects, one by one, and what is on none of them."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
import yaml
from multidict import CIMultiDict

from om_proxy.call.route import Route
from om_proxy.dialects.aipromptcost import AiPromptCost
from om_proxy.dialects.entrance import Entrance, Understood
from om_proxy.dialects.openmonetize import OpenMonetize
from om_proxy.providers import all_providers, compatible_providers
from om_proxy.refusals.problem import misrouted, unknown_route, upgrade_refused
from om_proxy.refusals.refusal import Problem, Shape

ENTRANCE = Entrance((*all_providers(), *compatible_providers()))
HEADER_ROUTES = ENTRANCE.header_routes.routes
PATH_ROUTES = ENTRANCE.path_routes.routes
#: The header that tells whose a path is where several providers have it.
SPOKEN = {"anthropic": {"anthropic-version": "2023-06-01"}, "google": {"x-goog-api-key": "k"}}
ROOT = Path(__file__).parents[3]

_PLACEHOLDER = re.compile(r"\{[a-z_]+\}")


def find(method: str, raw_path: str, headers: dict[str, str] | None = None) -> Understood | Problem:
    return ENTRANCE.find(method, raw_path, CIMultiDict(headers or {}))


def filled(path: str) -> str:
    return _PLACEHOLDER.sub("name-1", path)


def name_of(route: Route) -> str:
    return f"{route.provider}:{route.method}:{route.path}"


@pytest.mark.acceptance("B-001", "B-006", "B-007", "B-008", "B-009")
@pytest.mark.parametrize("route", HEADER_ROUTES, ids=name_of)
def test_every_path_of_a_provider_leads_to_it(route: Route) -> None:
    found = find(route.method, filled(route.path) + "?a=b", SPOKEN.get(route.provider))

    assert isinstance(found, Understood)
    assert isinstance(found.dialect, OpenMonetize)
    assert found.provider.name == route.provider
    assert found.target.route == route
    assert found.target.upstream_path == filled(route.upstream_path or route.path)


@pytest.mark.acceptance("B-129", "B-132", "B-141", "B-146")
@pytest.mark.parametrize("route", PATH_ROUTES, ids=name_of)
def test_every_path_under_a_providers_name_leads_to_it(route: Route) -> None:
    # Whatever the headers say: the path has said it.
    found = find(route.method, filled(route.path), {"anthropic-version": "x", "x-goog-api-key": "k"})

    assert isinstance(found, Understood)
    assert isinstance(found.dialect, AiPromptCost)
    assert found.provider.name == route.provider
    assert (found.target.route.operation, found.target.route.method) == (route.operation, route.method)
    assert found.target.upstream_path == filled(route.upstream_path)


@pytest.mark.acceptance("B-131", "B-160")
def test_both_dialects_reach_the_same_places() -> None:
    def places(routes: tuple[Route, ...]) -> set[tuple[str, str, str, str, bool]]:
        return {
            (
                route.provider,
                route.method,
                route.upstream_path or route.path,
                route.operation,
                route.billable,
            )
            for route in routes
        }

    # A path of Gemini's without a version has one here.
    versioned = tuple(route for route in HEADER_ROUTES if route.path.startswith("/v1"))
    assert places(versioned) <= places(PATH_ROUTES)
    only_by_path = {route.provider for route in PATH_ROUTES} - {route.provider for route in HEADER_ROUTES}
    extra = places(PATH_ROUTES) - places(HEADER_ROUTES)
    assert {provider for provider, *_ in extra} == only_by_path
    assert "groq" in only_by_path


@pytest.mark.acceptance("B-130")
def test_the_dialects_share_no_path() -> None:
    assert all(route.path.startswith("/api/proxy/v1/") for route in PATH_ROUTES)
    assert not any(route.path.startswith("/api/") for route in HEADER_ROUTES)
    assert len({(route.method, route.path) for route in PATH_ROUTES}) == len(PATH_ROUTES)


@pytest.mark.acceptance("B-133", "B-134", "B-140", "B-141")
@pytest.mark.parametrize(
    ("path", "provider", "upstream"),
    [
        ("openai/chat/completions", "openai", "/v1/chat/completions"),
        ("openai/v1/chat/completions", "openai", "/v1/chat/completions"),
        ("anthropic/messages", "anthropic", "/v1/messages"),
        ("anthropic/v1/messages", "anthropic", "/v1/messages"),
        ("gemini/models/m:generateContent", "google", "/v1beta/models/m:generateContent"),
        ("gemini/v1beta/models/m:generateContent", "google", "/v1beta/models/m:generateContent"),
        ("gemini/v1/models/m:streamGenerateContent", "google", "/v1/models/m:streamGenerateContent"),
    ],
)
def test_a_providers_version_may_be_left_out(path: str, provider: str, upstream: str) -> None:
    found = find("POST", f"/api/proxy/v1/{path}")

    assert isinstance(found, Understood)
    assert (found.provider.name, found.target.upstream_path) == (provider, upstream)


@pytest.mark.parametrize(
    "path",
    [
        "/api/proxy/v2/openai/chat/completions",
        "/api/proxy/openai/chat/completions",
        "/api/proxy/v1/openai",
        "/api/proxy/v1/openai/",
        "/api/proxy/v1/google/models/m:generateContent",
        "/api/proxy/v1/OpenAI/chat/completions",
        "/api/proxy/v1/openai/messages",
        "/api/proxy/v1/anthropic/chat/completions",
        "/api/proxy/v1/anthropic/v1/v1/messages",
        "/api/proxy/v1/nobody/chat/completions",
        "/api/proxy/v1/openai/../anthropic/messages",
        "/api/proxy/v1/openai/%63hat/completions",
        "/api/proxy/v1/openai//chat/completions",
        "/api/proxy/v1//openai/chat/completions",
        "/api/proxy/v1/openai/chat/completions/",
        "/v1/api/proxy/v1/openai/chat/completions",
    ],
)
@pytest.mark.acceptance("B-130", "B-131")
def test_what_is_on_neither_list_is_unknown(path: str) -> None:
    assert find("POST", path) == unknown_route()


def test_another_method_is_unknown() -> None:
    assert find("PUT", "/api/proxy/v1/openai/chat/completions") == unknown_route()


def test_a_verb_of_gemini_is_explained_in_both_dialects() -> None:
    for path in ("/v1beta/models/m:inventContent", "/api/proxy/v1/gemini/models/m:inventContent"):
        refused = find("POST", path)
        assert isinstance(refused, Problem)
        assert refused.code == misrouted("").code


@pytest.mark.parametrize(
    "path", ["/v1/realtime", "/v1/chat/completions", "/api/proxy/v1/openai/realtime", "/nowhere"]
)
@pytest.mark.parametrize("value", ["websocket", "WebSocket", " websocket "])
def test_a_websocket_is_refused_as_one_on_every_path(path: str, value: str) -> None:
    assert find("GET", path, {"Connection": "Upgrade", "Upgrade": value}) == upgrade_refused()


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/v1/nowhere", Shape.OPENAI),
        ("/v1/messages/nowhere", Shape.ANTHROPIC),
        ("/v1beta/nowhere", Shape.GEMINI),
        ("/api/proxy/v1/openai/nowhere", Shape.OPENAI),
        ("/api/proxy/v1/anthropic/nowhere", Shape.ANTHROPIC),
        ("/api/proxy/v1/gemini/nowhere", Shape.GEMINI),
        ("/api/proxy/v1/nobody/nowhere", Shape.OPENAI),
    ],
)
def test_an_unknown_path_is_refused_in_its_providers_shape(path: str, shape: Shape) -> None:
    assert ENTRANCE.shape_of(path) is shape


def segments(path: str) -> list[str]:
    return path.strip("/").split("/")


def meet(first: str, second: str) -> bool:
    """Whether some path is on both: a placeholder stands for any segment."""
    ours, theirs = segments(first), segments(second)
    if len(ours) != len(theirs):
        return False
    return all("{" in a or "{" in b or a == b for a, b in zip(ours, theirs, strict=True))


def test_one_host_can_serve_the_proxy_and_the_rest_api() -> None:
    document = yaml.safe_load((ROOT / "generated/openapi/openapi.yaml").read_text(encoding="utf-8"))
    served = [
        (verb.upper(), path)
        for path, operations in document["paths"].items()
        for verb in operations
        if verb in {"get", "post", "put", "patch", "delete"} and not path.startswith("/health")
    ]
    assert len(served) > 50

    both = [
        (route.path, path)
        for route, (verb, path) in product((*HEADER_ROUTES, *PATH_ROUTES), served)
        if route.method == verb and meet(route.path, path)
    ]

    assert both == []
