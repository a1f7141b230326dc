"""Which call is being worked on, for log lines and traces of other processes, and what traces it.

Without a tracer nothing is imported, and a step costs two calls of an empty function.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

#: The header and the metadata that carry a trace from process to process (W3C Trace Context).
TRACE_PARENT = "traceparent"


@dataclass(frozen=True, slots=True)
class CallContext:
    """A call on its way. Its trace is empty where nobody traces it."""

    request_id: str = ""
    trace_parent: str = ""


#: Tasks that a call starts know it too.
calling: ContextVar[CallContext] = ContextVar("calling", default=CallContext())  # noqa: B039 - it is frozen.


class Step(Protocol):
    """A part of a call, while it lasts."""

    def note(self, name: str, value: str | int) -> None:
        """Say something about it: of our own lists, or a number."""
        ...


class Tracer(Protocol):
    """Traces calls."""

    def request(self, event_id: str, trace_parent: str, *, route: str) -> AbstractContextManager[Step]:
        """Begin a call, in the trace that its caller names or in one of its own."""
        ...

    def step(self, name: str, *, provider: str = "") -> AbstractContextManager[Step]:
        """Begin a part of the call that is being worked on; calls to the server in it are parts of it."""
        ...


class Untraced:
    """Traces nothing, and only says which call is being worked on."""

    def __init__(self) -> None:
        self._nothing = _Nothing()

    def request(self, event_id: str, trace_parent: str, *, route: str) -> AbstractContextManager[Step]:
        """Remember the call."""
        del trace_parent, route
        # Of a connection's task, which takes its calls one after the other.
        calling.set(CallContext(event_id))
        return self._nothing

    def step(self, name: str, *, provider: str = "") -> AbstractContextManager[Step]:
        """Do nothing."""
        del name, provider
        return self._nothing


class _Nothing:
    """A step of which nobody hears."""

    def note(self, name: str, value: str | int) -> None:
        """Forget it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let errors through."""
