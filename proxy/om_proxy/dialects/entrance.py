"""Every path that is let in: which dialect it is in, whose it is, and in which shape to refuse it."""

from __future__ import annotations

from multidict import MultiMapping

from om_proxy.call.provider import Provider
from om_proxy.call.route import RouteTable, Target
from om_proxy.dialects.aipromptcost import AiPromptCost, provider_path
from om_proxy.dialects.dialect import Dialect
from om_proxy.dialects.openmonetize import OpenMonetize, provider_asked
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Problem, Shape
from om_proxy.value import value_type

_ROOT = "/api/proxy/"
_WEBSOCKET = "websocket"


@value_type(frozen=True, slots=True)
class Understood:
    """A request on a known route."""

    dialect: Dialect
    target: Target
    provider: Provider


class Entrance:
    """The routes of both dialects, which share none."""

    def __init__(self, providers: tuple[Provider, ...]) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._openmonetize = OpenMonetize()
        self._aipromptcost = AiPromptCost()
        #: What is forwarded, by dialect.
        self.header_routes = RouteTable(self._openmonetize.routes(providers))
        self.path_routes = RouteTable(self._aipromptcost.routes(providers))

    def find(self, method: str, raw_path: str, headers: MultiMapping[str]) -> Understood | Problem:
        """Find the route of a request, or say why there is none. Takes path and query as they were sent."""
        if headers.get("Upgrade", "").strip().lower() == _WEBSOCKET:
            return problem.upgrade_refused()
        path, _, query = raw_path.partition("?")
        if path.startswith(_ROOT):
            dialect: Dialect = self._aipromptcost
            target = self.path_routes.match(method, path)
        else:
            dialect = self._openmonetize
            asked = provider_asked(headers, query)
            target = self.header_routes.match(method, path, asked=asked)
        if target is None:
            return self._unknown(method, path)
        return Understood(dialect, target, self._providers[target.route.provider])

    def shape_of(self, raw_path: str) -> Shape:
        """Guess whose client asks for a path that is on no route."""
        if raw_path.startswith(_ROOT):
            for provider in self._providers.values():
                if provider_path(provider, raw_path) is not None:
                    return provider.shape
        elif raw_path.startswith(("/v1beta/", "/v1/models/")):
            return Shape.GEMINI
        return Shape.ANTHROPIC if "/messages" in raw_path else Shape.OPENAI

    def _unknown(self, method: str, path: str) -> Problem:
        for provider in self._providers.values():
            named = provider_path(provider, path) if path.startswith(_ROOT) else path
            explained = provider.misrouted(method, named) if named is not None else None
            if explained is not None:
                return explained
        return problem.unknown_route()
