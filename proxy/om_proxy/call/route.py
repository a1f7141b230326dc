"""The routes that are forwarded: an exact list, matched on the raw path. Nothing else reaches a provider."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

_NAME_MAX = 128
_NAME = re.compile(r"[A-Za-z0-9._:/-]+")
# A raw path keeps its percent-escapes; these two are the only ones a name or a verb may need.
_RAW_NAME = r"(?:[A-Za-z0-9._:-]|%3[Aa])+"
_RAW_MODEL = r"(?:[A-Za-z0-9._:-]|%3[Aa]|%2[Ff])+"
_RAW_MODEL_AND_VERB = r"(?:[A-Za-z0-9._:/-]|%3[Aa]|%2[Ff])+"
_RAW_COLON = "(?::|%3[Aa])"
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}(:?)")
_MODEL = "model"


@dataclass(frozen=True, slots=True)
class Route:
    """One forwarded route. `{name}` stands for a segment of a path, `{model}:` for a model and its colon.

    `usage` and `bound` are the provider's words for how usage is read from the answer, and how the most that
    a call may consume is read from the request.
    """

    provider: str
    method: str
    path: str
    operation: str
    billable: bool = True  # Admitted, and charged. Others may still show the end of deferred work.
    upstream_path: str = ""  # Where it differs from the path.
    usage: str = ""
    bound: str = ""
    simulated_path: str = ""  # Where the simulator has it, if not at the upstream path.


@dataclass(frozen=True, slots=True)
class Target:
    """A matched request: its route, and where exactly it goes at the provider."""

    route: Route
    upstream_path: str
    model: str | None = None  # Where the path names it.
    names: tuple[tuple[str, str], ...] = ()  # What stands in the path's other placeholders.
    simulated_path: str = ""  # Where the simulator has it, if not at the upstream path.


class RouteTable:
    """Every route of every provider. Where several share one, the first is taken if nobody is asked for."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._exact: dict[tuple[str, str], list[Target]] = {}
        # By method, with what stands before the first placeholder and behind the last: expressions are slow.
        self._patterns: dict[str, list[tuple[str, str, Route, re.Pattern[str]]]] = {}
        for route in self.routes:
            if _PLACEHOLDER.search(route.path):
                start, end = route.path.partition("{")[0], route.path.rpartition("}")[2].lstrip(":")
                row = (start, end, route, _pattern_of(route.path))
                self._patterns.setdefault(route.method, []).append(row)
            else:
                upstream_path = route.upstream_path or route.path
                target = Target(route, upstream_path, simulated_path=route.simulated_path)
                self._exact.setdefault((route.method, route.path), []).append(target)

    def match(self, method: str, raw_path: str, *, asked: str = "") -> Target | None:
        """Find the target of a request; None where it is not on the list. Takes the path as it was sent.

        `asked` is the provider that the request's headers speak to, for paths that several have.
        """
        found = self._exact.get((method, raw_path)) or self._matching(method, raw_path)
        return next(
            (target for target in found if target.route.provider == asked), found[0] if found else None
        )

    def _matching(self, method: str, raw_path: str) -> list[Target]:
        found = []
        for start, end, route, pattern in self._patterns.get(method, ()):
            if not (raw_path.startswith(start) and raw_path.endswith(end)):
                continue
            match = pattern.fullmatch(raw_path)
            target = _target_with_names(route, match.groupdict()) if match is not None else None
            if target is not None:
                found.append(target)
        return found


def _pattern_of(path: str) -> re.Pattern[str]:
    """Only models have slashes in their names, and only before a verb may one be written as it is."""
    parts, start = [], 0
    for placeholder in _PLACEHOLDER.finditer(path):
        name, colon = placeholder.groups()
        raw = _RAW_MODEL if name == _MODEL else _RAW_NAME
        parts.append(re.escape(path[start : placeholder.start()]))
        parts.append(f"(?P<{name}>{_RAW_MODEL_AND_VERB if colon else raw})")
        parts.append(_RAW_COLON if colon else "")
        start = placeholder.end()
    return re.compile("".join(parts) + re.escape(path[start:]))


def _target_with_names(route: Route, raw_names: dict[str, str]) -> Target | None:
    names = {name: _unescaped(raw) for name, raw in raw_names.items()}
    if not all(map(plain_model, names.values())):
        return None
    paths = (route.upstream_path or route.path, route.simulated_path)
    upstream, simulated = (_filled(path, names) for path in paths)
    model = names.pop(_MODEL, None)
    return Target(route, upstream, model, tuple(names.items()), simulated)


def _filled(path: str, names: Mapping[str, str]) -> str:
    for name, value in names.items():
        # One segment, whatever is in it: a slash of the name must not become one of the path.
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    return path


def _unescaped(raw: str) -> str:
    name = re.sub("%3a", ":", raw, flags=re.IGNORECASE)
    return re.sub("%2f", "/", name, flags=re.IGNORECASE)


def plain_model(model: str) -> bool:
    """Whether a name may stand in a path: no dot segments, no empty ones, no other alphabet."""
    return (
        len(model) <= _NAME_MAX
        and _NAME.fullmatch(model) is not None
        and not {"", ".", ".."} & set(model.split("/"))
    )
