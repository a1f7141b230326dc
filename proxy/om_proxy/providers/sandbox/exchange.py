"""The values a simulated exchange is made of: what came in, what goes out, what went wrong.

No I/O: ids and the time arrive in a Stamp, pauses and faults leave as switches on the Reply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from om_proxy.providers.sandbox.shelf import Shelf
from om_proxy.providers.sandbox.switch import Switches

Headers: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as it arrived; header lookups must ignore case, or the names be lower-case already."""

    method: str
    path: str  # Percent-decoded, without the query.
    query: Mapping[str, str] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def bearer(self) -> str:
        """The key in `Authorization: Bearer`; empty if there is none."""
        scheme, _, key = self.headers.get("authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What makes one answer different from the next: a token for its ids, and the time (Unix seconds)."""

    token: str
    created: int


@dataclass(frozen=True, slots=True)
class Problem:
    """An error before it has a provider's shape; no message: the provider's usual one for the status."""

    status: int
    message: str | None = None
    code: str | None = None  # OpenAI's `code`, Anthropic's `details.error_code`, Gemini's `reason`.
    param: str | None = None  # Only OpenAI reports it.


class Refused(Exception):
    """Leave with an error answer instead of a result."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to the operation that answers it."""

    incoming: Incoming
    switches: Switches
    stamp: Stamp
    shelf: Shelf
    public: bool = False  # Directives go only so far as everybody may.
    shim: bool = False  # Gemini's endpoint that speaks OpenAI's language.

    def listed(self, prefix: str) -> Sequence[str]:
        """List what is remembered: nothing in public, where one caller is not told of another's."""
        return [] if self.public else self.shelf.listed(prefix)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: one frame for a plain body, one frame per event for a stream.

    `streamed` is what the switches for streams apply to; `chunked` only goes out without a content-length.
    """

    status: int
    headers: Headers
    frames: tuple[bytes, ...]
    streamed: bool = False
    chunked: bool = False
    switches: Switches = field(default_factory=Switches)

    @property
    def body(self) -> bytes:
        """All bytes of the answer, before any switch of the transport touches them."""
        return b"".join(self.frames)

    def cut(self, count: int, *endings: bytes) -> Reply:
        """Keep the first `count` frames and end with `endings`."""
        return replace(self, frames=(*self.frames[:count], *endings))


Operation: TypeAlias = Callable[[Call], Reply]


class Family(Protocol):
    """What a provider's module offers to `respond`: openai, anthropic and gemini are families."""

    MALFORMED: Problem  # The body is not JSON, or not an object.

    def find(self, incoming: Incoming) -> Operation:
        """Find the operation behind method and path, or raise Refused as for an unknown address."""

    def check_key(self, incoming: Incoming) -> None:
        """Raise Refused unless there is a key, and one other than the literal `invalid`."""

    def refuse(self, problem: Problem, call: Call) -> Reply:
        """Give the problem the provider's status, body and headers."""

    def stream_error(self, call: Call) -> bytes:
        """Make the frame with which this provider reports an error in the middle of a stream."""
