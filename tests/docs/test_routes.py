"""The page of routes is what the tables of the proxy say, so that it cannot grow old."""

from __future__ import annotations

import re

from om_proxy.providers import all_providers, compatible_providers
from om_proxy.providers.compatible.spec import ProviderSpec
from om_proxy.providers.openai.convention import CONVENTIONS
from tests.docs.snippets import ROOT
from tests.docs.tables import rows
from tools.list_routes import DOCUMENT, document


def test_the_page_is_what_the_tool_writes() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(), "run python -m tools.list_routes"


def test_the_page_names_every_path_of_every_provider() -> None:
    text = document()

    for provider in all_providers():
        for route in provider.routes:
            tail = re.sub(r"^(/upload)?(/v1beta|/v1/v1|/v1)?", "", route.path)
            assert f"{tail}`" in text, f"{route.method} {route.path}"
    assert all(f"`{provider.name}`" in text for provider in compatible_providers())


def test_the_fields_of_a_provider_are_those_of_the_code() -> None:
    told = {name for name, _, _ in rows("docs/providers.md", "field", "default", "meaning")}

    assert told == set(ProviderSpec.__dataclass_fields__) - {"name"}


def test_the_conventions_are_those_of_the_code() -> None:
    told = {name for name, _ in rows("docs/providers.md", "convention", "what differs")}

    assert told == set(CONVENTIONS)


def test_the_templates_are_those_that_ship() -> None:
    text = (ROOT / "proxy/om_proxy/providers/compatible/providers.toml").read_text(encoding="utf-8")
    ship = {line.strip("[]") for line in text.splitlines() if line.startswith("[")}

    told = {name for name, _ in rows("docs/providers.md", "template", "what it needs")}

    assert ship - {provider.name for provider in compatible_providers()} == told
