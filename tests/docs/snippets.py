"""The fenced blocks of the documents, what runs them, and what they are expected to print.

A block of Python or of shell commands is run. A block of JSON or text right behind it is what it prints.
Any other block says why it is not run, in a comment above it that readers do not see:
`<!-- not run: needs a provider key -->`. `<!-- repeat -->` marks a block that reads what settlement writes.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

PYTHON = frozenset({"python"})
SHELL = frozenset({"bash", "sh"})
OUTPUT = frozenset({"json", "text"})

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Z_]+=")
_COMMENT = re.compile(r"<!-- (?:not run: (?P<reason>[^>]+?)|(?P<repeat>repeat)) -->\s*\Z")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    document: str
    line: int
    language: str
    text: str
    not_run: str = ""
    repeat: bool = False

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass(frozen=True, slots=True)
class Snippet:
    """A block that is run, and the block that shows its output."""

    block: Block
    output: Block | None


def blocks(path: Path) -> Iterator[Block]:
    """Every fenced block of a document."""
    text = path.read_text(encoding="utf-8")
    for fence in _FENCE.finditer(text):
        comment = _COMMENT.search(text, 0, fence.start())
        yield Block(
            document=str(path.relative_to(ROOT)),
            line=text.count("\n", 0, fence.start()) + 1,
            language=fence[1],
            text=fence[2],
            not_run=(comment["reason"] or "") if comment else "",
            repeat=bool(comment and comment["repeat"]),
        )


def snippets(path: Path) -> list[Snippet]:
    """What of a document is run, in order."""
    found = list(blocks(path))
    return [
        Snippet(block, _output_of(found[position + 1 : position + 2]))
        for position, block in enumerate(found)
        if block.language in PYTHON | SHELL and not block.not_run
    ]


def unexplained(path: Path) -> list[Block]:
    """Blocks that are neither run, nor the output of one that is, nor say why not."""
    found = list(blocks(path))
    explained = {id(block) for block in found if block.not_run}
    for position, block in enumerate(found):
        if block.language in PYTHON | SHELL and not block.not_run:
            explained.add(id(block))
            explained |= {id(after) for after in found[position + 1 : position + 2] if _is_output(after)}
    return [block for block in found if id(block) not in explained]


def commands(block: Block) -> list[list[str]]:
    """The commands of a shell block, each as its words, without the variables set before it."""
    lines = block.text.replace("\\\n", " ")
    # A quoted body may go over several lines, so the shell's own rules split them.
    lexer = shlex.shlex(lines, posix=True, punctuation_chars="\n")
    lexer.whitespace = " \t"
    lexer.whitespace_split = True
    lexer.commenters = "#"
    found: list[list[str]] = [[]]
    for word in lexer:
        if word.strip("\n"):
            found[-1].append(word)
        else:
            found.append([])
    return [_without_assignments(words) for words in found if words]


def _without_assignments(words: list[str]) -> list[str]:
    return list(dropwhile(lambda word: _ASSIGNMENT.match(word) is not None, words))


def _output_of(after: list[Block]) -> Block | None:
    return after[0] if after and _is_output(after[0]) else None


def _is_output(block: Block) -> bool:
    return block.language in OUTPUT and not block.not_run
