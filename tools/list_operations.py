"""Writes docs/published-api.md: every documented REST operation, from the documents of their families."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "published-api.md"
FAMILIES = ROOT / "server" / "om_server" / "rest" / "documented" / "openapi"

_HEAD = """# The documented operations

Their shapes were published before this API, and stay. `tools/list_operations.py` writes this page from the
[documents of the families](../server/om_server/rest/documented/openapi), and a test fails while it would
write another one. What they share, errors included, is in [rest.md](rest.md); every field is described in
[openapi.yaml](../generated/openapi/openapi.yaml), which `http://localhost:3000/docs` shows.
"""

_TABLE = ("| family | path | methods | what they do, in that order |", "| --- | --- | --- | --- |")


def main() -> int:
    """Write the page, or with `--check` say whether it is what would be written."""
    text = document()
    if "--check" in sys.argv[1:]:
        return int(DOCUMENT.read_text(encoding="utf-8") != text)
    DOCUMENT.write_text(text, encoding="utf-8")
    return 0


def document() -> str:
    """Give the whole page: what each family is, then one row for each path with its methods."""
    families = list(_families())
    described = [f"* **{_tag(family)['name']}**: {_description(family)}" for family in families]
    rows = [row for family in families for row in _rows(family)]
    return "\n".join([_HEAD, *described, "", *_TABLE, *rows, ""])


def _families() -> Iterator[Mapping[str, Any]]:
    for path in sorted(FAMILIES.glob("*.yaml")):
        family = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "paths" in family:
            yield family


def _rows(family: Mapping[str, Any]) -> Iterator[str]:
    for path, verbs in family["paths"].items():
        methods = ", ".join(f"`{verb.upper()}`" for verb in verbs)
        summaries = "; ".join(operation["summary"] for operation in verbs.values())
        yield f"| {_tag(family)['name']} | `{path}` | {methods} | {summaries} |"


def _tag(family: Mapping[str, Any]) -> Mapping[str, Any]:
    tag: Mapping[str, Any] = family["tags"][0]
    return tag


def _description(family: Mapping[str, Any]) -> str:
    first = _first_sentence(_tag(family)["description"])
    return f"{first[0].lower()}{first[1:]}"


def _first_sentence(description: str) -> str:
    """Leave the rest to the interactive document: this page is an overview."""
    first, stop, _ = " ".join(description.split()).partition(". ")
    return f"{first}." if stop else first


if __name__ == "__main__":
    sys.exit(main())
