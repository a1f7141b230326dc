"""The header-attributed dialect: the providers' own paths, and four X-OM headers that every call needs."""

from __future__ import annotations

from collections.abc import Iterable

from multidict import MultiMapping

from om_proxy.call.provider import Provider, query_secret
from om_proxy.call.route import Route, Target
from om_proxy.dialects.attribution import (
    CUSTOMER_ID,
    FEATURE_ID,
    HEADERS,
    USER_ID,
    Attribution,
    ambiguous,
    attributed,
)
from om_proxy.dialects.dialect import Asked
from om_proxy.refusals.problem import missing_billing_headers
from om_proxy.refusals.refusal import Problem
from om_proxy.secret import Credential

API_KEY = "X-OM-Api-Key"

_TOLD_APART = frozenset({"openai", "anthropic", "google"})

_REQUIRED = (CUSTOMER_ID, USER_ID, FEATURE_ID, API_KEY)


class OpenMonetize:
    """The dialect. Everything about one request is in its arguments."""

    def routes(self, providers: Iterable[Provider]) -> tuple[Route, ...]:
        """Give the routes of the providers whose own paths are told apart; others are reached by name."""
        return tuple(
            route for provider in providers if provider.name in _TOLD_APART for route in provider.routes
        )

    def attribution(self, headers: MultiMapping[str]) -> Attribution | Problem:
        """Read the headers, or say what is wrong with them."""
        return attribution(headers)

    def credential(
        self, provider: Provider, headers: MultiMapping[str], raw_query: str
    ) -> Credential | Problem:
        """Take the provider's key from where its own clients put it."""
        return provider.credential(headers, raw_query)

    def asked(self, target: Target, body: bytes, who: Attribution) -> Asked | Problem:  # noqa: ARG002
        """Leave the body as it came."""
        return Asked(body, who)

    def worded(self, problem: Problem) -> Problem:
        """Say it in the published words."""
        return problem


def provider_asked(headers: MultiMapping[str], raw_query: str) -> str:
    """Tell whom a request speaks to, where several providers have its path; empty for whoever is first."""
    if "anthropic-version" in headers:
        return "anthropic"
    if "x-goog-api-key" in headers or "x-goog-api-client" in headers or query_secret(raw_query, "key"):
        return "google"
    return ""


def attribution(headers: MultiMapping[str]) -> Attribution | Problem:
    """Read the headers, or say what is wrong with them. The key is not looked up here."""
    twice = ambiguous(headers, (API_KEY, *HEADERS))
    if twice is not None:
        return twice
    if not all(headers.get(name, "").strip() for name in _REQUIRED):
        return missing_billing_headers()
    return attributed(headers, headers[API_KEY].strip())
