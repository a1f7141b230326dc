"""Typed reading of a JSON request body; a field of the wrong type is the client's error, not ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from om_proxy.providers.sandbox.exchange import Incoming, Problem, Refused

_TEXT_KEYS = ("text", "content", "parts", "output")
# What an image counts for; its bytes say nothing about it.
_IMAGE_CHARACTERS = 85 * 4
_IMAGE_TYPES = frozenset({"image_url", "input_image", "image"})
_IMAGE_KEYS = ("inlineData", "inline_data", "fileData", "file_data")


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON object; absent and null fields read alike, as None."""

    fields: Mapping[str, object]

    def text(self, name: str) -> str | None:
        """Read a string."""
        value = self.fields.get(name)
        if value is None or isinstance(value, str):
            return value
        raise _wrong_type(name, "a string")

    def integer(self, name: str) -> int | None:
        """Read an integer that is not negative."""
        value = self.fields.get(name)
        # A JSON true is an int in Python.
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
            return value
        raise _wrong_type(name, "an integer that is not negative")

    def flag(self, name: str) -> bool:
        """Read a boolean; absent is false."""
        value = self.fields.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise _wrong_type(name, "a boolean")

    def section(self, name: str) -> Body:
        """Read an object; absent is empty."""
        value = self.fields.get(name)
        if value is None:
            return Body({})
        if isinstance(value, dict):
            return Body(value)
        raise _wrong_type(name, "an object")

    def items(self, name: str) -> Sequence[object] | None:
        """Read an array."""
        value = self.fields.get(name)
        if value is None or isinstance(value, list):
            return value
        raise _wrong_type(name, "an array")

    def value(self, name: str) -> object:
        """Take a field as it is."""
        return self.fields.get(name)


def read_body(incoming: Incoming, malformed: Problem) -> Body:
    """Parse the request's body, which must be a JSON object."""
    try:
        fields = orjson.loads(incoming.body)
    except orjson.JSONDecodeError:
        raise Refused(malformed) from None
    if not isinstance(fields, dict):
        raise Refused(malformed)
    return Body(fields)


def count_characters(node: object) -> int:
    """Count the characters of all text below a node of a message tree, in whatever nesting a provider uses.

    Counted are strings in lists, and what stands under `text`, `content`, `parts` and `output`; roles, ids
    and tool declarations are not. An image counts as much as 85 tokens.
    """
    return sum(len(text) for text in _texts(node)) + _IMAGE_CHARACTERS * sum(
        1
        for part in _objects(node)
        if part.get("type") in _IMAGE_TYPES or any(key in part for key in _IMAGE_KEYS)
    )


def all_text(node: object) -> str:
    """Join all text that `count_characters` counts."""
    return "".join(_texts(node))


def first_tool(body: Body) -> str | None:
    """Name the first tool that a request declares, in whatever form a provider has for it."""
    for tool in body.items("tools") or ():
        found = _tool_name(tool)
        if found is not None:
            return found
    return None


def _tool_name(tool: object) -> str | None:
    if not isinstance(tool, dict):
        return None
    declared = tool.get("functionDeclarations") or tool.get("function_declarations")
    inner = declared[0] if isinstance(declared, list) and declared else tool.get("function", tool)
    name = inner.get("name") if isinstance(inner, dict) else None
    return name if isinstance(name, str) else None


def _texts(node: object) -> Iterator[str]:
    return (found for found in _walk(node) if isinstance(found, str))


def _objects(node: object) -> Iterator[dict[str, object]]:
    return (found for found in _walk(node) if isinstance(found, dict))


def _walk(node: object) -> Iterator[object]:
    # A list instead of recursion: JSON may be nested deeper than Python's stack.
    nodes = [node]
    while nodes:
        current = nodes.pop()
        yield current
        if isinstance(current, list):
            nodes += reversed(current)
        elif isinstance(current, dict):
            nodes += (current[key] for key in _TEXT_KEYS if key in current)


def _wrong_type(name: str, expected: str) -> Refused:
    message = f"Invalid type for '{name}': expected {expected}."
    return Refused(Problem(400, message, code="invalid_type", param=name))
