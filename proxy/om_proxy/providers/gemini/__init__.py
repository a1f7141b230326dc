"""Gemini: generateContent and streamGenerateContent."""

from __future__ import annotations

import re

from multidict import MultiMapping

from om_proxy.call import Call
from om_proxy.framing import BODY_MAX, Framing, JsonArray, WholeBody
from om_proxy.problem import misrouted, missing_provider_key
from om_proxy.provider import UsageReader, bearer_token, only_value, query_secret, query_without
from om_proxy.providers.gemini.request import GENERATE, STREAM, read_generate
from om_proxy.providers.gemini.usage import GenerateReader
from om_proxy.refusal import Problem, Shape
from om_proxy.route import Route, Target
from om_proxy.secret import Credential, Secret
from om_proxy.sse import SseParser

_KEY = "key"
# Older SDKs and the documentation say v1beta, newer ones v1.
_PREFIXES = ("/v1beta/models/", "/v1/models/")
_ACTION = re.compile(r"(?::|%3[Aa])([A-Za-z]{1,64})$")


class Gemini:
    """The provider, which prices call google."""

    name = "google"
    shape = Shape.GEMINI
    routes = tuple(
        Route("google", "POST", f"{prefix}{{model}}:{operation}", operation)
        for prefix in _PREFIXES
        for operation in (GENERATE, STREAM)
    )
    default_headers: tuple[tuple[str, str], ...] = ()

    def misrouted(self, method: str, raw_path: str) -> Problem | None:
        """Explain an unknown verb and a malformed path, with the published texts."""
        if method != "POST" or not raw_path.startswith(_PREFIXES):
            return None
        action = _ACTION.search(raw_path)
        if action is None or action[1] in {GENERATE, STREAM}:
            return misrouted("Invalid request path. Expected: /v1beta/models/<model>:<action>")
        return misrouted(f"Unknown action: {action[1]}. Expected: {GENERATE} or {STREAM}")

    def credential(self, headers: MultiMapping[str], raw_query: str) -> Credential | Problem:
        """Take x-goog-api-key, else `?key=`, else an OAuth bearer token. A key never stays in the URL."""
        key = only_value(headers, "x-goog-api-key")
        if isinstance(key, Problem):
            return key
        secret = Secret(key) if key is not None else query_secret(raw_query, _KEY)
        if secret is not None:
            return Credential("x-goog-api-key", secret)
        value = only_value(headers, "authorization")
        if isinstance(value, Problem):
            return value
        token = bearer_token(value) if value else None
        if token is None:
            return missing_provider_key(self.shape)
        return Credential("Authorization", Secret(f"Bearer {token}"))

    def upstream_query(self, raw_query: str) -> str:
        """Take the key out, and leave the rest."""
        return query_without(raw_query, _KEY)

    def read(self, target: Target, body: bytes) -> Call | Problem:
        """Understand a request; the path names the model, and the verb says whether it streams."""
        return read_generate(target, body)

    def framing(self, call: Call, content_type: str) -> Framing:
        """Tell events, the array that streams without `alt=sse`, and a plain body."""
        # A single event can hold a whole image, and its usage behind that.
        if content_type.startswith("text/event-stream"):
            return SseParser(BODY_MAX)
        return JsonArray() if call.stream else WholeBody()

    def reader(self, call: Call) -> UsageReader:
        """Read generated content."""
        return GenerateReader(call)
