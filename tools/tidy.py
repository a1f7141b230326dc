"""House rules that no other checker knows: module sizes, file names, and work left for later."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINES_MAX = 400
SIZED = ("server", "proxy", "tools", "clients/python")
SEARCHED = (*SIZED, "tests", "proto/om", "docs")
SUFFIXES = frozenset({".py", ".proto", ".md", ".ts", ".tsx", ".go"})
SKIPPED = frozenset({"node_modules", "__pycache__", "dist", "bin"})
# Names that say nothing about what is inside: a function without a home lacks a noun.
BANNED = frozenset({"base", "common", "helpers", "manager", "mapper", "misc", "utils"})
LATER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
ISSUE = re.compile(r"TODO\(#\d+\)")


def main() -> int:
    found = sorted({*_too_long(), *_badly_named(), *_unnumbered()})
    for problem in found:
        print(f"tidy: {problem}", file=sys.stderr)
    return int(bool(found))


def _too_long() -> Iterator[str]:
    for path in _files(SIZED, frozenset({".py"})):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > LINES_MAX:
            yield f"{path.relative_to(ROOT)}: {lines} lines; a module has at most {LINES_MAX}"


def _badly_named() -> Iterator[str]:
    for path in _files(SEARCHED, SUFFIXES):
        if path.stem.strip("_") in BANNED:
            yield f"{path.relative_to(ROOT)}: name the file for what is in it"


def _unnumbered() -> Iterator[str]:
    for path in _files(SEARCHED, SUFFIXES):
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if LATER.search(line) and not ISSUE.search(line):
                yield f"{path.relative_to(ROOT)}:{number}: write it as TODO(#123), with the issue's number"


def _files(folders: tuple[str, ...], suffixes: frozenset[str]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT).parts
            if path.suffix in suffixes and path.is_file() and not SKIPPED & set(inside):
                yield path


if __name__ == "__main__":
    sys.exit(main())
