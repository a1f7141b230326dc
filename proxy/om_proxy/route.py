"""The routes that are forwarded: an exact list, matched on the raw path. Nothing else reaches a provider."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

_MODEL_MAX = 128
_MODEL = re.compile(r"[A-Za-z0-9._:/-]+")
# A raw path keeps its percent-escapes; these two are the only ones a model or its verb may need.
_RAW_MODEL = r"(?P<model>(?:[A-Za-z0-9._:/-]|%3[Aa]|%2[Ff])+)"
_RAW_COLON = "(?::|%3[Aa])"
_PLACEHOLDER = "{model}:"


@dataclass(frozen=True, slots=True)
class Route:
    """One forwarded route. A path may hold `{model}:`, which stands for a model and its colon."""

    provider: str
    method: str
    path: str
    operation: str
    billable: bool = True  # Produces a usage charge.
    upstream_path: str = ""  # Where it differs from the path.


@dataclass(frozen=True, slots=True)
class Target:
    """A matched request: its route, and where exactly it goes at the provider."""

    route: Route
    upstream_path: str
    model: str | None = None  # Where the path names it.


class RouteTable:
    """Every route of every provider."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._exact: dict[tuple[str, str], Target] = {}
        self._patterns: list[tuple[Route, re.Pattern[str]]] = []
        for route in self.routes:
            if _PLACEHOLDER in route.path:
                self._patterns.append((route, _pattern_of(route.path)))
            else:
                target = Target(route, route.upstream_path or route.path)
                self._exact[route.method, route.path] = target

    def match(self, method: str, raw_path: str) -> Target | None:
        """Find the target of a request; None where it is not on the list. Takes the path as it was sent."""
        exact = self._exact.get((method, raw_path))
        if exact is not None:
            return exact
        for route, pattern in self._patterns:
            found = pattern.fullmatch(raw_path) if route.method == method else None
            if found is not None:
                return _target_with_model(route, found["model"])
        return None


def _pattern_of(path: str) -> re.Pattern[str]:
    before, after = path.split(_PLACEHOLDER)
    return re.compile(re.escape(before) + _RAW_MODEL + _RAW_COLON + re.escape(after))


def _target_with_model(route: Route, raw_model: str) -> Target | None:
    model = re.sub("%3a", ":", raw_model, flags=re.IGNORECASE)
    model = re.sub("%2f", "/", model, flags=re.IGNORECASE)
    if not plain_model(model):
        return None
    # One segment, whatever is in it: a slash of the model's name must not become one of the path.
    path = route.path.replace("{model}", quote(model, safe=""))
    return Target(route, path, model)


def plain_model(model: str) -> bool:
    """Whether a name may stand in a path: no dot segments, no empty ones, no other alphabet."""
    return (
        len(model) <= _MODEL_MAX
        and _MODEL.fullmatch(model) is not None
        and not {"", ".", ".."} & set(model.split("/"))
    )
