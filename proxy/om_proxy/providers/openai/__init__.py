"""OpenAI: chat completions, and whatever speaks the same dialect behind another base URL."""

from __future__ import annotations

from multidict import MultiMapping

from om_proxy.call import Call
from om_proxy.framing import Framing, WholeBody
from om_proxy.problem import missing_provider_key
from om_proxy.provider import UsageReader, bearer_token, only_value
from om_proxy.providers.openai.request import read_chat
from om_proxy.providers.openai.usage import ChatReader
from om_proxy.refusal import Problem, Shape
from om_proxy.route import Route, Target
from om_proxy.secret import Credential, Secret
from om_proxy.sse import SseParser


class OpenAI:
    """The provider."""

    name = "openai"
    shape = Shape.OPENAI
    routes = (Route(name, "POST", "/v1/chat/completions", "chat"),)
    default_headers: tuple[tuple[str, str], ...] = ()

    def misrouted(self, method: str, raw_path: str) -> Problem | None:  # noqa: ARG002 - see Provider.
        """Leave unknown paths unknown."""
        return None

    def credential(self, headers: MultiMapping[str], raw_query: str) -> Credential | Problem:  # noqa: ARG002
        """Take the bearer token of Authorization."""
        value = only_value(headers, "authorization")
        if isinstance(value, Problem):
            return value
        token = bearer_token(value) if value else None
        if token is None:
            return missing_provider_key(self.shape)
        return Credential("Authorization", Secret(f"Bearer {token}"))

    def upstream_query(self, raw_query: str) -> str:
        """Leave the query alone."""
        return raw_query

    def read(self, target: Target, body: bytes) -> Call | Problem:
        """Understand a chat request; a stream is made to report its usage."""
        return read_chat(target, body)

    def framing(self, call: Call, content_type: str) -> Framing:  # noqa: ARG002 - see Provider.
        """Tell events from a plain body."""
        return SseParser() if content_type.startswith("text/event-stream") else WholeBody()

    def reader(self, call: Call) -> UsageReader:
        """Read a chat completion."""
        return ChatReader(call)
