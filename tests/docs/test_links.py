"""Every link of the documents leads somewhere, and every path that they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.snippets import DOCUMENTS, ROOT

_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
#: What begins so, in code style, is a path of this tree.
_TOP = (
    "proto/",
    "generated/",
    "server/",
    "proxy/",
    "clients/",
    "tests/",
    "tools/",
    "docs/",
    ".ci/",
    "requirements/",
)
_LINES_MAX = 150
#: A row for every number, to be looked up.
LIST = ROOT / "docs/acceptance.md"


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _prose(path: Path) -> str:
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def _anchors(path: Path) -> set[str]:
    """The names that a Markdown page gives to its headings."""
    headings = (heading.strip().lower() for heading in _HEADING.findall(_prose(path)))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_link_leads_somewhere(path: Path) -> None:
    broken = []
    for target in _LINK.findall(_prose(path)):
        place, _, anchor = target.partition("#")
        file = (path.parent / place).resolve() if place else path
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_every_path_that_is_named_is_there(path: Path) -> None:
    named = {
        word.split("*")[0].split("{")[0].split("#")[0].split("::")[0]
        for code in _CODE.findall(_prose(path))
        for word in code.split()
        if word.startswith(_TOP)
    }

    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path != LIST], ids=_name)
def test_a_document_is_short_and_plain(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert len(text.splitlines()) <= _LINES_MAX
    assert "\N{EM DASH}" not in text


def test_the_index_names_every_document() -> None:
    linked = {(ROOT / "docs" / target).resolve() for target in _LINK.findall(_prose(ROOT / "docs/README.md"))}
    written = {path for path in DOCUMENTS if path.parent == ROOT / "docs"} - {ROOT / "docs/README.md"}

    assert written <= linked


def test_decisions_are_numbered_without_gaps() -> None:
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))

    assert [int(path.name[:4]) for path in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        headings = re.findall(r"^## (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"]
