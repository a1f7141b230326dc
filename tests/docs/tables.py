"""Tables of the documents, by the names of their columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.docs.snippets import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows(document: str, *columns: str) -> list[tuple[str, ...]]:
    """The rows of the table with exactly these columns, without the marks of code."""
    lines = (ROOT / document).read_text(encoding="utf-8").splitlines()
    start = next(at for at, line in enumerate(lines) if _cells(line) == columns)
    return list(_until_the_end(lines[start + 2 :]))


def _until_the_end(lines: list[str]) -> Iterator[tuple[str, ...]]:
    for line in lines:
        if not line.startswith("|"):
            return
        yield _cells(line)


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip().replace("`", "") for cell in line.strip("|").split("|"))
