"""OpenAI, and the dialect that others speak behind an origin of their own."""

from __future__ import annotations

from multidict import MultiMapping

from om_proxy.call.call import Call
from om_proxy.call.provider import UsageReader, bearer_token, only_value
from om_proxy.call.route import Route, Target
from om_proxy.metering.framing import Framing
from om_proxy.providers.openai.operation import BOUNDS, Sent, framing_of, reader_of
from om_proxy.providers.openai.routes import routes_of
from om_proxy.refusals.problem import missing_provider_key
from om_proxy.refusals.refusal import Problem, Shape
from om_proxy.secret import Credential, Secret


class OpenAI:
    """The provider."""

    name = "openai"
    shape = Shape.OPENAI
    routes: tuple[Route, ...] = routes_of(name)
    default_headers: tuple[tuple[str, str], ...] = ()
    keyless = False

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
        return self.credential_of(Secret(token))

    def credential_of(self, key: Secret) -> Credential:
        """Make it a bearer token."""
        return Credential("Authorization", Secret(f"Bearer {key.reveal()}"))

    def upstream_query(self, raw_query: str) -> str:
        """Leave the query alone."""
        return raw_query

    def read(self, target: Target, body: bytes, *, content_type: str = "") -> Call | Problem:
        """Understand a request as its route says; a chat stream is made to report its usage."""
        return BOUNDS[target.route.bound](target, Sent(body, content_type, ask=True))

    def framing(self, call: Call, content_type: str) -> Framing:
        """Tell events from a plain body, and leave alone what is neither."""
        return framing_of(call, content_type)

    def reader(self, call: Call) -> UsageReader:
        """Read as the route says."""
        return reader_of(call)
