from __future__ import annotations

import pytest
from multidict import CIMultiDict

from om_proxy.call.provider import Provider
from om_proxy.providers import all_providers
from om_proxy.refusals.problem import ambiguous_header, missing_provider_key
from om_proxy.refusals.refusal import Problem
from om_proxy.secret import Credential, Secret
from tests.proxy.exchange import provider_named


def found(name: str, headers: list[tuple[str, str]], query: str = "") -> Credential | Problem:
    return provider_named(name).credential(CIMultiDict(headers), query)


@pytest.mark.parametrize(
    ("name", "headers", "query", "sent"),
    [
        ("openai", [("authorization", "Bearer sk-1")], "", ("Authorization", "Bearer sk-1")),
        ("openai", [("Authorization", "bearer  sk-1 ")], "", ("Authorization", "Bearer sk-1")),
        ("anthropic", [("X-Api-Key", "sk-ant-1")], "", ("x-api-key", "sk-ant-1")),
        ("anthropic", [("Authorization", "Bearer sk-ant-1")], "", ("Authorization", "Bearer sk-ant-1")),
        ("anthropic", [("Authorization", "Bearer a"), ("x-api-key", "b")], "", ("x-api-key", "b")),
        ("google", [("x-goog-api-key", "AIza1")], "", ("x-goog-api-key", "AIza1")),
        ("google", [], "alt=sse&key=AIza%2D1", ("x-goog-api-key", "AIza-1")),
        ("google", [("x-goog-api-key", "header")], "key=query", ("x-goog-api-key", "header")),
        ("google", [("Authorization", "Bearer ya29")], "key=", ("Authorization", "Bearer ya29")),
    ],
)
@pytest.mark.acceptance("B-015")
def test_the_providers_key_is_found(
    name: str, headers: list[tuple[str, str]], query: str, sent: tuple[str, str]
) -> None:
    header, value = sent

    assert found(name, headers, query) == Credential(header, Secret(value))


@pytest.mark.parametrize("provider", all_providers(), ids=lambda provider: provider.name)
@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer ")],
        [("Authorization", "Basic eDp5")],
        [("x-api-key", " ")],
    ],
)
def test_a_request_without_a_key_is_told_what_to_send(
    provider: Provider, headers: list[tuple[str, str]]
) -> None:
    assert provider.credential(CIMultiDict(headers), "alt=sse") == missing_provider_key(provider.shape)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("openai", "authorization"),
        ("anthropic", "x-api-key"),
        ("anthropic", "authorization"),
        ("google", "x-goog-api-key"),
        ("google", "authorization"),
    ],
)
def test_two_keys_are_ambiguous(name: str, header: str) -> None:
    assert found(name, [(header, "Bearer a"), (header.upper(), "Bearer b")]) == ambiguous_header(header)


@pytest.mark.parametrize(
    ("name", "query", "upstream"),
    [
        ("openai", "a=1&key=x", "a=1&key=x"),
        ("anthropic", "beta=true", "beta=true"),
        ("google", "", ""),
        ("google", "alt=sse", "alt=sse"),
        ("google", "key=AIza&alt=sse&x=%7e", "alt=sse&x=%7e"),
        ("google", "alt=sse&%6Bey=AIza&key=2", "alt=sse"),
        ("google", "monkey=1&key", "monkey=1"),
    ],
)
def test_no_key_stays_in_the_query(name: str, query: str, upstream: str) -> None:
    assert provider_named(name).upstream_query(query) == upstream


def test_only_anthropic_insists_on_a_header() -> None:
    assert {provider.name: provider.default_headers for provider in all_providers()} == {
        "openai": (),
        "anthropic": (("anthropic-version", "2023-06-01"),),
        "google": (),
    }
