"""Providers that speak OpenAI's dialect at an origin of their own, by configuration."""

from __future__ import annotations

from dataclasses import replace

from multidict import MultiMapping

from om_proxy.call.call import Call
from om_proxy.call.provider import UsageReader, only_value
from om_proxy.call.route import Target
from om_proxy.metering.reading import parse_object
from om_proxy.providers.compatible.spec import Auth, ProviderSpec
from om_proxy.providers.openai import OpenAI
from om_proxy.providers.openai.convention import CONVENTIONS
from om_proxy.providers.openai.operation import BOUNDS, Sent, reader_of
from om_proxy.providers.openai.routes import routes_of
from om_proxy.refusals.refusal import Problem
from om_proxy.secret import Credential, Secret

_API_KEY = "api-key"
_NO_KEY = Secret("none")
_DOTS_OF_A_TOKEN = 2


class Compatible(OpenAI):
    """One of them."""

    def __init__(self, spec: ProviderSpec) -> None:
        self.name = spec.name
        self.keyless = spec.auth is Auth.NONE
        self.origin = spec.origin.removesuffix("/")
        self.routes = routes_of(
            spec.name, prefix=spec.prefix, operations=spec.operations, deployments=spec.deployments
        )
        self._spec = spec
        self._convention = CONVENTIONS[spec.convention]

    def credential(self, headers: MultiMapping[str], raw_query: str) -> Credential | Problem:
        """Take the key from where this provider's clients put it."""
        if self._spec.auth is Auth.API_KEY:
            key = only_value(headers, _API_KEY)
            if key is not None:
                return key if isinstance(key, Problem) else Credential(_API_KEY, Secret(key))
        if self._spec.auth is Auth.NONE and "authorization" not in headers:
            return self.credential_of(_NO_KEY)
        return super().credential(headers, raw_query)

    def credential_of(self, key: Secret) -> Credential:
        """Put a key into the provider's header; a token of a directory is no key, and goes as bearer."""
        if self._spec.auth is Auth.API_KEY and key.reveal().count(".") != _DOTS_OF_A_TOKEN:
            return Credential(_API_KEY, key)
        return super().credential_of(key)

    def read(self, target: Target, body: bytes, *, content_type: str = "") -> Call | Problem:
        """Understand a request, with what this provider adds to the dialect."""
        spec = self._spec
        call = BOUNDS[target.route.bound](target, Sent(body, content_type, ask=spec.include_usage))
        if isinstance(call, Problem):
            return call
        field = self._unbounded(call, body)
        demand = call.demand if field is None else replace(call.demand, unbounded_field=field)
        model = spec.models.get(call.model, call.model)
        return replace(call, provider=spec.prices or spec.name, model=model, demand=demand)

    def reader(self, call: Call) -> UsageReader:
        """Read by this provider's convention."""
        return reader_of(call, self._convention)

    def _unbounded(self, call: Call, body: bytes) -> str | None:
        """Name what lets the provider run other models, or tools of its own."""
        spec = self._spec
        if any(part in call.model for part in spec.routers):
            return "model"
        escaped = b"\\u" in body
        if not spec.unbounded or not any(escaped or name.encode() in body for name in spec.unbounded):
            return None
        document = parse_object(body) or {}
        return next((name for name in spec.unbounded if document.get(name)), None)
