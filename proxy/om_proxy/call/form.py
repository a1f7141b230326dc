"""Reads the fields of a multipart form where they stand. The bytes are forwarded as they came.

What a provider's parser could read in another way is refused: else a caller could show us one model and the
provider another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_BOUNDARY = re.compile(
    r"multipart/form-data\s*;(?:[^\"]*;)?\s*"
    r"boundary=(?:\"([^\"\\]{1,70})\"|([^\s\";,]{1,70}))\s*",
    re.IGNORECASE,
)
_DISPOSITION = re.compile(
    r'form-data;\s*name="(?P<name>[^"\\\r\n]{1,255})"(?P<file>\s*;\s*filename="(?:[^"\\\r\n]|\\.)*")?\s*',
    re.IGNORECASE,
)
_HEADERS_MAX = 4_096
_PARTS_MAX = 256
_END_OF_HEADERS = b"\r\n\r\n"
_PLAIN = frozenset({"", "binary", "8bit", "7bit"})


@dataclass(frozen=True, slots=True)
class File:
    """A file of a form: the bytes body[start:end]."""

    name: str
    start: int
    end: int

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Form:
    """A form's texts, each name with its values in order, and its files."""

    texts: Mapping[str, tuple[str, ...]]
    files: tuple[File, ...]

    def only(self, name: str) -> str | None:
        """Give the one value of a name; None where there is none."""
        return self.texts.get(name, (None,))[0]

    @property
    def text_bytes(self) -> int:
        """How many bytes all texts have."""
        return sum(len(value.encode()) for values in self.texts.values() for value in values)


def is_form(content_type: str) -> bool:
    """Whether a body says that it is a form."""
    return content_type.strip().lower().startswith("multipart/form-data")


def read_form(body: bytes, content_type: str) -> Form | None:
    """Read a form; None where it is not one, or could be read in two ways."""
    boundary = _BOUNDARY.fullmatch(content_type.strip())
    if boundary is None:
        return None
    try:
        mark = b"--" + (boundary[1] or boundary[2]).encode("ascii")
    except UnicodeEncodeError:
        return None
    texts: dict[str, tuple[str, ...]] = {}
    files: list[File] = []
    position = len(mark)
    if not body.startswith(mark):
        return None
    for _ in range(_PARTS_MAX):
        if body[position : position + 2] == b"--":
            return Form(texts, tuple(files)) if _alike(texts) else None
        end = body.find(b"\r\n" + mark, position)
        part = _part(body, position, end) if end >= 0 else None
        if part is None:
            return None
        name, is_file, start = part
        if is_file:
            files.append(File(name, start, end))
        else:
            try:
                texts[name] = (*texts.get(name, ()), body[start:end].decode())
            except UnicodeDecodeError:
                return None
        position = end + 2 + len(mark)
    return None


def _part(body: bytes, position: int, end: int) -> tuple[str, bool, int] | None:
    """Read the headers of a part: its name, whether it is a file, and where its content starts."""
    stop = body.find(_END_OF_HEADERS, position, min(end + 2, position + _HEADERS_MAX))
    if stop < 0 or body[position : position + 2] != b"\r\n":
        return None
    headers: dict[str, str] = {}
    for line in body[position + 2 : stop].split(b"\r\n"):
        name, colon, value = line.partition(b":")
        low = name.decode("latin-1").lower()
        if not colon or low in headers or b"\n" in line or b"\r" in line:
            return None
        headers[low] = value.decode("utf-8", "replace").strip()
    disposition = _DISPOSITION.fullmatch(headers.get("content-disposition", ""))
    if disposition is None or headers.get("content-transfer-encoding", "").lower() not in _PLAIN:
        return None
    return disposition["name"], disposition["file"] is not None, stop + len(_END_OF_HEADERS)


def _alike(texts: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether no name occurs twice, but for those of lists."""
    return all(len(values) == 1 or name.endswith("[]") for name, values in texts.items())
