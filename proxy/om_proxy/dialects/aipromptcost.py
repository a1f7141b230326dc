"""The path-based dialect: /api/proxy/v1/<provider>/<route>, and `_aipromptcost` in the body.

`Authorization` holds the platform key, `X-Provider-Key` the provider's. The X-OM headers say what the body
cannot; where both speak, the body counts, because it is written for the one call.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from multidict import MultiMapping

from om_proxy.call.provider import Provider, bearer_token, only_value
from om_proxy.call.route import Route, Target
from om_proxy.dialects.attribution import (
    HEADERS,
    VERSION_MAX,
    Attribution,
    ambiguous,
    attributed,
    distinct,
    is_name,
)
from om_proxy.dialects.dialect import Asked
from om_proxy.json_text import without
from om_proxy.metering.reading import parse_object
from om_proxy.refusals.problem import invalid_field, missing_platform_key, missing_provider_header
from om_proxy.refusals.refusal import Form, Problem
from om_proxy.secret import Credential, Secret

#: The 1 is this proxy's own version, whatever the providers count.
PREFIX = "/api/proxy/v1/"
AUTHORIZATION = "Authorization"
PROVIDER_KEY = "X-Provider-Key"
FIELD = "_aipromptcost"
UNKNOWN_PROMPT = "unknown"

# What a model server of one's own is shown, which asks for no key.
_NO_KEY = Secret("none")
#: Where a path's name is not the price list's.
_SEGMENTS = {"google": "gemini"}
# Providers' own versions, which need not be written: the newest-featured one is meant.
_VERSIONS = {"google": "/v1beta/"}
_VERSION = "/v1/"
# A doubled version is another dialect's concession to its base URL.
_DOUBLED = "/v1/v1/"
_ESCAPE = b"\\u"
#: Operations that the documents promise to refuse without their messages.
_TALKING = frozenset({"chat", "messages"})


class AiPromptCost:
    """The dialect. Everything about one request is in its arguments."""

    def routes(self, providers: Iterable[Provider]) -> tuple[Route, ...]:
        """Give each provider's routes under its name, with and without the provider's own version."""
        found: dict[tuple[str, str], Route] = {}
        for provider in providers:
            for route in provider.routes:
                for path in _paths(provider, route.path):
                    upstream = route.upstream_path or route.path
                    found.setdefault((route.method, path), replace(route, path=path, upstream_path=upstream))
        return tuple(found.values())

    def attribution(self, headers: MultiMapping[str]) -> Attribution | Problem:
        """Read the platform key and the headers beside it."""
        twice = ambiguous(headers, (AUTHORIZATION, PROVIDER_KEY, *HEADERS))
        if twice is not None:
            return twice
        key = bearer_token(headers.get(AUTHORIZATION, ""))
        if key is None:
            return missing_platform_key()
        who = attributed(headers, key)
        return who if isinstance(who, Problem) else _prompted(who)

    def credential(
        self,
        provider: Provider,
        headers: MultiMapping[str],
        raw_query: str,  # noqa: ARG002 - see Dialect.
    ) -> Credential | Problem:
        """Take X-Provider-Key, whatever else looks like a key: SDKs send their own header as well."""
        key = only_value(headers, PROVIDER_KEY)
        if isinstance(key, Problem):
            return key
        if key is None:
            return provider.credential_of(_NO_KEY) if provider.keyless else missing_provider_header()
        return provider.credential_of(Secret(key))

    def asked(self, target: Target, body: bytes, who: Attribution) -> Asked | Problem:
        """Take `_aipromptcost` out of a JSON body. What is no JSON is left to its reader."""
        talking = target.route.operation in _TALKING
        # An escape may hide the name.
        worth_reading = talking or FIELD.encode() in body or _ESCAPE in body
        document = parse_object(body) if worth_reading else None
        if document is None:
            return Asked(body, who)
        if talking and "messages" not in document:
            return invalid_field("messages")
        if FIELD not in document:
            return Asked(body, who)
        told = _told(document[FIELD], who)
        return told if isinstance(told, Problem) else Asked(without(body, FIELD), _prompted(told))

    def worded(self, problem: Problem) -> Problem:
        """Say it richly: this dialect's documents print statuses and no bodies."""
        return replace(problem, form=Form.RICH) if problem.form is Form.PUBLISHED else problem


def segment_of(provider: Provider) -> str:
    """Give a provider's name in a path."""
    return _SEGMENTS.get(provider.name, provider.name)


def provider_path(provider: Provider, raw_path: str) -> str | None:
    """Give a path as the provider's own clients would write it; None where it is not the provider's."""
    prefix = PREFIX + segment_of(provider)
    if not raw_path.startswith(f"{prefix}/"):
        return None
    path, version = raw_path.removeprefix(prefix), _VERSIONS.get(provider.name, _VERSION)
    return path if path.startswith(("/v1/", "/v1beta/")) else version + path.removeprefix("/")


def _paths(provider: Provider, path: str) -> tuple[str, ...]:
    """Give the paths of this dialect that stand for one of the provider's."""
    if path.startswith(PREFIX):
        return (path,)
    if path.startswith(_DOUBLED):
        return ()
    version = _VERSIONS.get(provider.name, _VERSION)
    prefix = PREFIX + segment_of(provider)
    whole = prefix + path
    return (f"{prefix}/{path.removeprefix(version)}", whole) if path.startswith(version) else (whole,)


def _prompted(who: Attribution) -> Attribution:
    return who if who.prompt_key else replace(who, prompt_key=UNKNOWN_PROMPT)


def _told(value: object, who: Attribution) -> Attribution | Problem:
    """Read the object; null says nothing, as does a member that is null."""
    if value is None:
        return who
    if not isinstance(value, dict):
        return invalid_field(FIELD)
    key, tags, version = (value.get(name) for name in ("prompt_key", "feature_tags", "version"))
    if key is not None and not (isinstance(key, str) and is_name(key)):
        return invalid_field(f"{FIELD}.prompt_key")
    if version is not None and not (type(version) is int and 0 <= version <= VERSION_MAX):
        return invalid_field(f"{FIELD}.version")
    labels = who.tags if tags is None else _tags(tags)
    if labels is None:
        return invalid_field(f"{FIELD}.feature_tags")
    return replace(
        who,
        prompt_key=(key or "").strip() or who.prompt_key,
        prompt_version=who.prompt_version if version is None else version,
        tags=labels,
    )


def _tags(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not all(isinstance(tag, str) and tag.strip() for tag in value):
        return None
    return distinct(tag.strip() for tag in value)
