"""Writes docs/routes.md: every route that the proxy forwards, from the tables that it matches against."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from om_proxy.call.provider import Provider
from om_proxy.call.route import Route
from om_proxy.providers import all_providers, compatible_providers

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "routes.md"

_NAMES = {"openai": "OpenAI", "anthropic": "Anthropic", "google": "Gemini"}
_NOTHING = frozenset({"", "none", "nothing"})
# Written once: the same route is also there under another version, or with the version twice.
_TWIN = re.compile(r"^(/upload)?(?:/v1beta|/v1/v1|/v1)?/")

_HEAD = """# Routes

What the proxy forwards; anything else is 404, and a WebSocket is refused. `tools/list_routes.py` writes this
page from the tables that requests are matched against, and a test fails while it would write another one.

*Charged* routes are admitted before they are sent. *Usage* is where the figures come from, *bound* what the
most that a call may cost is computed from. *Nothing* bounds some: a prepaid wallet refuses them. The end of
deferred work is charged to the call that began it, once, whoever sees it first; the routes that show it are
not charged themselves.

All of it is also under `/api/proxy/v1/<provider>/`, with or without the provider's own version. Providers
that speak OpenAI's dialect are added by configuration: [providers.md](providers.md).
"""


def main() -> int:
    """Write the page, or with `--check` say whether it is what would be written."""
    text = document()
    if "--check" in sys.argv[1:]:
        return int(DOCUMENT.read_text(encoding="utf-8") != text)
    DOCUMENT.write_text(text, encoding="utf-8")
    return 0


def document() -> str:
    """Give the whole page."""
    parts = [_HEAD, *(_section(provider) for provider in all_providers()), _compatible()]
    return "\n".join(parts)


def _section(provider: Provider) -> str:
    lines = [
        f"## {_NAMES[provider.name]}\n",
        "| route | charged | usage | bound |",
        "| --- | --- | --- | --- |",
    ]
    groups: dict[tuple[bool, str, str], list[Route]] = {}
    for route in _distinct(provider.routes):
        groups.setdefault((route.billable, _word(route.usage), _word(route.bound)), []).append(route)
    # What is not even read comes last.
    for (billable, usage, bound), routes in sorted(groups.items(), key=lambda item: not item[0][1]):
        cell = "<br>".join(_paths(routes))
        bounded = bound or "nothing" if billable else "-"
        lines.append(f"| {cell} | {'yes' if billable else 'no'} | {usage or '-'} | {bounded} |")
    return "\n".join(lines) + "\n"


def _compatible() -> str:
    lines = ["## Compatible providers\n", "| name | origin | operations |", "| --- | --- | --- |"]
    for provider in compatible_providers():
        operations = dict.fromkeys(route.operation for route in provider.routes)
        lines.append(f"| `{provider.name}` | `{provider.origin}` | {', '.join(operations)} |")
    return "\n".join(lines) + "\n"


def _word(text: str) -> str:
    return "" if text in _NOTHING else text


def _distinct(routes: Iterable[Route]) -> Iterator[Route]:
    seen: set[tuple[str, str]] = set()
    for route in routes:
        key = (route.method, _TWIN.sub(r"\1/", route.path))
        if key not in seen:
            seen.add(key)
            yield route


def _paths(routes: Iterable[Route]) -> Iterator[str]:
    """Write each path once, with all methods that it has here."""
    methods: dict[str, list[str]] = {}
    for route in routes:
        methods.setdefault(route.path, []).append(route.method)
    return (f"`{' '.join(names)} {path}`" for path, names in methods.items())


if __name__ == "__main__":
    sys.exit(main())
