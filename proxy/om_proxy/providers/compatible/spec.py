"""Providers as data: what ships, what the operator's file adds, and everything that is refused of it."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from yarl import URL

from om_proxy.providers.openai.convention import CONVENTIONS
from om_proxy.providers.openai.routes import OPERATIONS

_SHIPPED = "providers.toml"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
#: Names whose paths mean the providers themselves.
_TAKEN = frozenset({"openai", "anthropic", "google", "gemini", "sandbox"})
_PRIVATE_SUFFIXES = (".local", ".internal", ".localhost", ".lan")


class ProvidersInvalid(ValueError):
    """A file of providers cannot be used; the message names the entry and says why."""


class Auth(StrEnum):
    """Where the key goes."""

    BEARER = "bearer"
    API_KEY = "api-key"
    NONE = "none"  # A key is passed on where there is one.


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """A provider that speaks OpenAI's dialect at one fixed origin."""

    name: str
    origin: str
    prefix: str
    operations: tuple[str, ...]
    auth: Auth = Auth.BEARER
    convention: str = "openai"
    include_usage: bool = True
    prices: str = ""
    unbounded: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    deployments: bool = False
    models: Mapping[str, str] = field(default_factory=dict)  # Deployments, with the models behind them.

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None or self.name in _TAKEN:
            raise ProvidersInvalid(f"{self.name}: the name is taken, or not of a-z, 0-9 and hyphens")
        if _PREFIX.fullmatch(self.prefix) is None:
            raise ProvidersInvalid(f"{self.name}: the prefix is not a path such as /openai/v1")
        if self.convention not in CONVENTIONS:
            raise ProvidersInvalid(f"{self.name}: convention is one of {', '.join(sorted(CONVENTIONS))}")
        unknown = sorted(set(self.operations) - OPERATIONS)
        if unknown or not self.operations:
            raise ProvidersInvalid(f"{self.name}: operations are some of {', '.join(sorted(OPERATIONS))}")
        require_origin(self.name, self.origin)


_SPEC = TypeAdapter(ProviderSpec)
_FIELDS = frozenset(ProviderSpec.__dataclass_fields__) - {"name"}


def require_origin(name: str, origin: str) -> None:
    """Refuse whatever is more than an origin, and keys in the clear on a public network."""
    try:
        url = URL(origin)
        exact = str(url.origin()) == origin.removesuffix("/")
    except ValueError:
        raise ProvidersInvalid(f"{name}: the origin is not a URL") from None
    if not exact or url.scheme not in {"http", "https"} or not url.host:
        raise ProvidersInvalid(f"{name}: the origin is not one such as https://api.example.com")
    if url.scheme == "http" and not _is_private(url.host):
        raise ProvidersInvalid(f"{name}: http is for private hosts; the key would be readable on the way")


def load_providers(path: str = "") -> tuple[ProviderSpec, ...]:
    """Read the shipped providers and the operator's. ProvidersInvalid names what is wrong.

    An entry of the file changes those fields of the shipped one of its name that it gives. Templates that
    get no origin are left out.
    """
    tables = _parse(resources.files(__package__).joinpath(_SHIPPED).read_text("utf-8"), _SHIPPED)
    if path:
        for name, fields in _parse(_text(path), path).items():
            tables[name] = {**tables.get(name, {}), **fields}
    return tuple(_spec(name, fields) for name, fields in tables.items() if "origin" in fields)


def hosts_in(path: str) -> frozenset[str]:
    """Name the hosts that the operator's own file gives; those that ship are public."""
    origins = (fields.get("origin") for fields in _parse(_text(path), path).values()) if path else ()
    return frozenset(URL(origin).host or "" for origin in origins if isinstance(origin, str))


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProvidersInvalid(f"{path}: cannot be read ({type(error).__name__})") from None


def _parse(text: str, path: str) -> dict[str, dict[str, object]]:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProvidersInvalid(f"{path}: {error}") from None
    for name, fields in tables.items():
        unknown = sorted(fields.keys() - _FIELDS) if isinstance(fields, dict) else ["not a table"]
        if unknown:
            raise ProvidersInvalid(f"{name}: unknown: {', '.join(unknown)}")
    return tables


def _spec(name: str, fields: Mapping[str, object]) -> ProviderSpec:
    try:
        return _SPEC.validate_python({"name": name, "prefix": "/v1", **fields})
    except ValidationError as error:
        first = error.errors()[0]
        raise ProvidersInvalid(f"{name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _is_private(host: str) -> bool:
    """Whether a host is on a network of one's own. Link-local addresses hand out a cloud's secrets."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_PRIVATE_SUFFIXES)
    return address.is_private and not address.is_link_local
