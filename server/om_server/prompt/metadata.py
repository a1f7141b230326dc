"""What the metadata of a version may be: small, made of short texts, and never content. Pure."""

from collections.abc import Iterator

import orjson

from om_server.core.errors import InvalidArgument

BYTES_MAX = 4096
#: Enough for a name, a hash or a path, and too short for most prompts.
TEXT_BYTES_MAX = 256

#: Under these names people keep the prompt itself.
_CONTENT_NAMES = frozenset(
    {
        "completion",
        "content",
        "contents",
        "instructions",
        "messages",
        "prompt",
        "prompt_text",
        "response",
        "system",
        "system_prompt",
        "template",
        "text",
    }
)
_SHOWN_CHARACTERS = 40


def check_metadata(document: str, field: str) -> None:
    """Raise INVALID_ARGUMENT for JSON text that is too long or looks like content, naming where.

    The text itself is never in the message: it may be what must not be kept anywhere.
    """
    if len(document.encode()) > BYTES_MAX:
        raise InvalidArgument(field, f"over {BYTES_MAX} bytes as JSON")
    for path, text, is_name in _texts(orjson.loads(document), field):
        if is_name and text.strip().lower() in _CONTENT_NAMES:
            raise InvalidArgument(path, "its name says content, which is never stored")
        if len(text.encode()) > TEXT_BYTES_MAX:
            raise InvalidArgument(path, f"a text over {TEXT_BYTES_MAX} bytes; content is never stored")


def _texts(value: object, path: str) -> Iterator[tuple[str, str, bool]]:
    """Yield every text within with its path, and whether it is the name of a value."""
    if isinstance(value, str):
        yield path, value, False
    elif isinstance(value, dict):
        for name, item in value.items():
            where = f"{path}.{name[:_SHOWN_CHARACTERS]}"
            yield where, name, True
            yield from _texts(item, where)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{path}[{index}]")
