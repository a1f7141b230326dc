"""What the first page promises: what it is, where to read on, where to get help, and the licence."""

from __future__ import annotations

import pytest

from tests.docs.snippets import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.acceptance("B-106")
def test_the_first_sentences_say_what_it_is() -> None:
    beginning = README[:500]

    assert "smart meter" in beginning
    assert "prepaid wallet exactly once" in beginning.replace("\n", " ")


@pytest.mark.acceptance("B-119", "B-120")
@pytest.mark.parametrize(
    "page",
    [
        "getting-started",
        "architecture",
        "proxy",
        "events",
        "rest",
        "grpc",
        "money",
        "burn-tables",
        "analytics",
        "troubleshooting",
    ],
)
def test_the_guides_that_people_look_for_are_there_and_named(page: str) -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")

    assert (ROOT / "docs" / f"{page}.md").is_file()
    assert f"]({page}.md)" in index


@pytest.mark.acceptance("B-118")
def test_the_licences_are_stated_and_are_those_of_the_files() -> None:
    assert "The server is AGPL-3.0-or-later, everything under `clients/` is MIT." in README
    assert "GNU AFFERO GENERAL PUBLIC LICENSE" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert (ROOT / "clients" / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


@pytest.mark.acceptance("B-121")
def test_help_says_what_a_bug_report_needs() -> None:
    assert "(docs/troubleshooting.md)" in README
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    report = page[page.index("## Reporting a bug") :]

    for needed in ("/v1/info", "request id", "log lines", "openmonetize doctor", "without keys"):
        assert needed in report
