"""Anthropic: messages."""

from __future__ import annotations

from multidict import MultiMapping

from om_proxy.call import Call
from om_proxy.framing import Framing, WholeBody
from om_proxy.problem import missing_provider_key
from om_proxy.provider import UsageReader, bearer_token, only_value
from om_proxy.providers.anthropic.request import read_messages
from om_proxy.providers.anthropic.usage import MessagesReader
from om_proxy.refusal import Problem, Shape
from om_proxy.route import Route, Target
from om_proxy.secret import Credential, Secret
from om_proxy.sse import SseParser

_MESSAGES = "/v1/messages"


class Anthropic:
    """The provider."""

    name = "anthropic"
    shape = Shape.ANTHROPIC
    routes = (
        Route(name, "POST", _MESSAGES, "messages"),
        # Clients that were given a base URL ending in /v1 append the whole path to it.
        Route(name, "POST", "/v1/v1/messages", "messages", upstream_path=_MESSAGES),
    )
    # Plain HTTP callers need not know about API versions; SDKs send their own.
    default_headers = (("anthropic-version", "2023-06-01"),)

    def misrouted(self, method: str, raw_path: str) -> Problem | None:  # noqa: ARG002 - see Provider.
        """Leave unknown paths unknown."""
        return None

    def credential(self, headers: MultiMapping[str], raw_query: str) -> Credential | Problem:  # noqa: ARG002
        """Take x-api-key, else the bearer token that newer SDKs send."""
        key = only_value(headers, "x-api-key")
        if isinstance(key, Problem):
            return key
        if key is not None:
            return Credential("x-api-key", Secret(key))
        value = only_value(headers, "authorization")
        if isinstance(value, Problem):
            return value
        token = bearer_token(value) if value else None
        if token is None:
            return missing_provider_key(self.shape)
        return Credential("Authorization", Secret(f"Bearer {token}"))

    def upstream_query(self, raw_query: str) -> str:
        """Leave the query alone: beta methods say so in it."""
        return raw_query

    def read(self, target: Target, body: bytes) -> Call | Problem:
        """Understand a messages request; it is forwarded as it came."""
        return read_messages(target, body)

    def framing(self, call: Call, content_type: str) -> Framing:  # noqa: ARG002 - see Provider.
        """Tell events from a plain body."""
        return SseParser() if content_type.startswith("text/event-stream") else WholeBody()

    def reader(self, call: Call) -> UsageReader:
        """Read a message."""
        return MessagesReader(call)
