"""What every provider's file offers, and what it shares: credentials by header, the parts of a query."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import unquote_plus

from multidict import MultiMapping

from om_proxy.call.call import Call
from om_proxy.call.route import Route, Target
from om_proxy.metering.framing import Framing
from om_proxy.metering.reading import Metered
from om_proxy.refusals.problem import ambiguous_header
from om_proxy.refusals.refusal import Problem, Shape
from om_proxy.secret import Credential, Secret


class UsageReader(Protocol):
    """A provider's half of a meter: the documents of one response in, its usage out.

    One that also has `nothing_in(events: bytes) -> bool` is shown whole server-sent events first: it says
    whether none of them has to be read, and has then taken of them what it needs.
    """

    @property
    def visible_bytes(self) -> int:
        """Of generated text that was seen, for an estimate where usage never comes."""
        ...

    def read(self, document: bytes) -> None:
        """Read the next document: a whole body, or one event's data."""
        ...

    def metered(self) -> Metered:
        """Say what was read; what the provider left out is unknown."""
        ...


class Provider(Protocol):
    """An AI provider. Stateless: everything about one request is in its arguments."""

    @property
    def name(self) -> str:
        """The provider's name in prices and events."""
        ...

    @property
    def shape(self) -> Shape:
        """How its clients read errors."""
        ...

    @property
    def routes(self) -> tuple[Route, ...]:
        """What is forwarded to it."""
        ...

    @property
    def default_headers(self) -> tuple[tuple[str, str], ...]:
        """Headers that it insists on, sent where the client does not."""
        ...

    @property
    def keyless(self) -> bool:
        """Whether it may be called without a key, as a model server of one's own."""
        ...

    def misrouted(self, method: str, raw_path: str) -> Problem | None:
        """Explain a path that is this provider's and is on no route."""
        ...

    def credential(self, headers: MultiMapping[str], raw_query: str) -> Credential | Problem:
        """Find the provider's key in a request."""
        ...

    def credential_of(self, key: Secret) -> Credential:
        """Put a key that came in a header of ours where the provider wants it."""
        ...

    def upstream_query(self, raw_query: str) -> str:
        """Give the query that goes upstream: without keys, otherwise as it came."""
        ...

    def read(self, target: Target, body: bytes, *, content_type: str = "") -> Call | Problem:
        """Understand a request's body, and edit it where that is needed."""
        ...

    def framing(self, call: Call, content_type: str) -> Framing:
        """Say how a successful response of this content type falls into documents."""
        ...

    def reader(self, call: Call) -> UsageReader:
        """Open a reader for one response."""
        ...


def only_value(headers: MultiMapping[str], name: str) -> str | Problem | None:
    """Read a header that must not occur twice; blank reads as absent."""
    values = headers.getall(name, [])
    if len(values) > 1:
        return ambiguous_header(name)
    return values[0].strip() or None if values else None


def bearer_token(authorization: str) -> str | None:
    """Read the token of a bearer credential; None for any other scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def query_secret(raw_query: str, name: str) -> Secret | None:
    """Read a key from a raw query; the first where there are several."""
    for part in raw_query.split("&"):
        key, _, value = part.partition("=")
        if unquote_plus(key) == name and value:
            return Secret(unquote_plus(value))
    return None


def query_without(raw_query: str, name: str) -> str:
    """Take a parameter out of a raw query and leave every other byte."""
    parts = [part for part in raw_query.split("&") if unquote_plus(part.partition("=")[0]) != name]
    return "&".join(parts)
