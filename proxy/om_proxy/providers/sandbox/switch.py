"""The `X-Sim` request header: directives that make the simulator answer otherwise than plainly.

Example: `X-Sim: reasoning=50; cached=1000; interval_ms=5; abort_after=3`. Who cannot set headers writes them
behind the model's name: `gpt-4o--sim.reasoning.50.cached.1000`. Counts of tokens are what the request is then
billed for; docs/simulator.md tells each directive.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from http import HTTPStatus
from itertools import zip_longest
from typing import Any

HEADER = "x-sim"

_MILLISECONDS_MAX = 3_600_000
_TOKENS_MAX = 10_000_000
# The answer is really written, so its length is memory and time of the simulator itself.
_OUTPUT_TOKENS_MAX = 200_000
_FRAMES_MAX = 10_000_000
_SECONDS_MAX = 86_400

#: What stands between a model's name and directives; only of characters that an address may have.
MODEL_MARK = "--sim."

_WORDS = {
    "usage": ("missing", "with_choices", "twice", "unsteady", "dropped"),
    "coding": ("gzip", "br", "zstd"),
    "iterations": ("compaction", "advisor", "fallback"),
    "flavour": ("xai", "groq", "deepseek", "openrouter", "mistral"),
    "status": ("queued", "in_progress", "failed", "cancelled"),
}


@dataclass(frozen=True, slots=True)
class Switches:
    """One field per directive; the defaults are a provider on a good day."""

    # What is said and counted.
    output_tokens: int | None = (
        None  # Length of the visible answer of each choice; the request's cap still wins.
    )
    input_tokens: int | None = (
        None  # Instead of counting the request's text; without cached and written tokens.
    )
    reasoning: int = 0  # Reasoning tokens of each choice, spent before the first visible one.
    silent: bool = False  # Nothing of the reasoning is shown: no thinking block, no summary, no thought.
    tool_call: bool = False  # The answer calls the first tool that the request declares.
    refusal: bool = False  # The model declines, in the form that the provider has for it.
    echo: bool = False  # The answer is the text of the request.
    web_searches: int = 0  # Searches that are billed for themselves.
    seconds: int | None = None  # Audio: the length of the upload; otherwise it follows from its size.
    filtered: int = 0  # Imagen: so many of the images are withheld.
    errored: int = 0  # Batches: so many of the requests fail, the first ones.
    status: str | None = None  # Polling of background work: where it stands; otherwise it is done.
    cached: int = 0  # Input tokens read from a cache, on top of the counted ones.
    cache_write: int = 0  # OpenAI: input tokens written to a cache, on top of the counted ones.
    cache_write_5m: int = 0  # Anthropic: the same, for five minutes.
    cache_write_1h: int = 0  # Anthropic: the same, for an hour.
    unicode: bool = False  # An answer of characters that take two, three and four bytes.
    tier: str | None = None  # The service tier that was served.
    served_model: str | None = None  # The model the answer names.

    # How usage is reported.
    # missing: nowhere. OpenAI streams: with_choices puts it on the last chunk that has a choice, asked for or
    # not; twice puts it there and at the end. Gemini streams: unsteady counts go up and down before the true
    # last frame; dropped loses candidatesTokenCount in the last frame.
    usage: str | None = None
    flavour: str | None = None  # Chat: usage as this compatible provider writes it.
    azure: bool = False  # Chat streams: Azure's first chunk, which has no choice and no model.
    iterations: str | None = None  # Anthropic: the bill is in usage.iterations, with such an item.
    start_input_tokens: int | None = (
        None  # Anthropic streams: input_tokens of message_start; the end corrects it.
    )

    # How a stream is framed.
    pings: int = 1  # Anthropic: how many ping events.
    padding: int | None = (
        None  # Anthropic: spaces after each event's JSON; otherwise they vary as in reality.
    )
    comments: int = 0  # OpenAI: comment frames before the first chunk.
    crlf: bool = False  # CRLF line ends where the provider writes LF.

    # Errors.
    error: int | None = None  # Answer with this HTTP status.
    error_code: str | None = None  # The code inside that error's body.
    retry_after: int | None = None  # Seconds; also honoured on a 200.
    error_after: int | None = (
        None  # Streams: the provider's own error frame after so many, at the latest for the last.
    )

    # Transport. A piece is what one write puts on the wire: a frame, or `chunk` bytes.
    delay_ms: int = 0  # Before the response headers.
    ttft_ms: int = 0  # Between the headers and the first piece.
    interval_ms: int = 0  # Between pieces.
    chunk: int = 0  # Bytes per piece; 0: frames are pieces.
    gzip: bool = False  # The same as coding=gzip.
    coding: str | None = None  # Content coding of the answer, whatever the client accepts.
    clean_end_after: int | None = None  # Streams: end early but tidily after so many frames.
    abort_after: int | None = None  # Cut the connection after so many pieces.
    hang_after: int | None = None  # Fall silent after so many pieces, with the connection open.
    drop: bool = False  # Cut the connection instead of answering at all.

    @property
    def content_coding(self) -> str | None:
        """The coding that the answer goes out in."""
        return "gzip" if self.gzip else self.coding

    def retry_seconds(self, status: int) -> int | None:
        """Say what `retry-after` holds on an answer with this status; None: the header is absent."""
        if self.retry_after is None and status == HTTPStatus.TOO_MANY_REQUESTS:
            return 1
        return self.retry_after


class InvalidSwitch(Exception):
    """An X-Sim directive that does not exist, or a value that it cannot take."""

    def __init__(self, name: str) -> None:
        super().__init__(f"X-Sim: the directive '{name}' is unknown or has a value it cannot take")
        self.name = name


@lru_cache(maxsize=1024)
def parse_switches(header: str, model: str = "") -> Switches:
    """Read the header's value, and what stands behind the model's name; raises InvalidSwitch."""
    # Any: dataclasses.replace takes values of different types by name, and _value has checked each.
    chosen: dict[str, Any] = {}
    for directive in [*_behind(model), *header.split(";")]:
        if not directive.strip():
            continue
        name, _, value = (part.strip() for part in directive.partition("="))
        if name not in _TYPES:
            raise InvalidSwitch(name)
        chosen[name] = _value(name, value)
    return replace(Switches(), **chosen)


def _behind(model: str) -> list[str]:
    words = model.partition(MODEL_MARK)[2].split(".")
    return [f"{name}={value}" for name, value in zip_longest(words[::2], words[1::2], fillvalue="") if name]


def write_directives(switches: Switches, names: Collection[str]) -> str:
    """Write those of these switches that are set as a header's value."""
    values, defaults = asdict(switches), asdict(Switches())
    chosen = {name: values[name] for name in names if values[name] != defaults[name]}
    return ";".join(f"{name}={int(value) if value is True else value}" for name, value in chosen.items())


# The annotations are strings here: dataclass fields carry them as written.
_TYPES = {field.name: str(field.type).removesuffix(" | None") for field in fields(Switches)}


def _value(name: str, text: str) -> int | bool | str:
    if _TYPES[name] == "bool":
        if text not in ("0", "1"):
            raise InvalidSwitch(name)
        return text == "1"
    if _TYPES[name] == "int":
        return _integer(name, text)
    if not text or text not in _WORDS.get(name, (text,)):
        raise InvalidSwitch(name)
    return text


def _integer(name: str, text: str) -> int:
    low, high = _bounds(name)
    # isdecimal alone would let other scripts' digits pass.
    if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
        raise InvalidSwitch(name)
    return int(text)


def _bounds(name: str) -> tuple[int, int]:
    if name == "error":
        return 400, 599
    if name == "output_tokens":
        return 0, _OUTPUT_TOKENS_MAX
    if name.endswith("_ms"):
        return 0, _MILLISECONDS_MAX
    if name.endswith("_after") or name == "chunk":
        return 0, _FRAMES_MAX
    if name in {"pings", "padding", "comments"}:
        return 0, 1_000
    if name in {"web_searches", "filtered", "errored"}:
        return 0, 100
    if name == "seconds":
        return 0, _SECONDS_MAX
    return 0, _TOKENS_MAX
