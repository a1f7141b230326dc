"""What a dialect decides: which paths are its own, and where in a request names, keys and wishes stand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from multidict import MultiMapping

from om_proxy.call.provider import Provider
from om_proxy.call.route import Route, Target
from om_proxy.dialects.attribution import Attribution
from om_proxy.refusals.refusal import Problem
from om_proxy.secret import Credential
from om_proxy.value import value_type


@value_type(frozen=True, slots=True)
class Asked:
    """A request without what of it is ours."""

    body: bytes
    who: Attribution


class Dialect(Protocol):
    """One way to speak to the proxy. Stateless."""

    def routes(self, providers: Iterable[Provider]) -> tuple[Route, ...]:
        """Give every route under which the providers are reached."""
        ...

    def attribution(self, headers: MultiMapping[str]) -> Attribution | Problem:
        """Say who asks, as far as the headers know. The key is not looked up."""
        ...

    def credential(
        self, provider: Provider, headers: MultiMapping[str], raw_query: str
    ) -> Credential | Problem:
        """Find the provider's key in a request."""
        ...

    def asked(self, target: Target, body: bytes, who: Attribution) -> Asked | Problem:
        """Take out of the body what is ours, and say who asks with it."""
        ...

    def worded(self, problem: Problem) -> Problem:
        """Say a refusal as the dialect's documents do."""
        ...
