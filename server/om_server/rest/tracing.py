"""What traces requests, if anything does. Without a tracer a request costs two calls of an empty function."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self


class RequestSpan(Protocol):
    """A request while it is answered."""

    @property
    def trace_parent(self) -> str:
        """How the server names it as its caller (W3C Trace Context); empty where nobody keeps the trace."""
        ...

    def note(self, name: str, value: str | int) -> None:
        """Say something about it: of our own lists, or a number."""
        ...


class RequestTracer(Protocol):
    """Traces requests."""

    def request(self, trace_parent: str, *, request_id: str) -> AbstractContextManager[RequestSpan]:
        """Trace a block, in the trace that its caller names or in one of its own."""
        ...


class Untraced:
    """Traces nothing."""

    def __init__(self) -> None:
        self._nothing = _Nothing()

    def request(self, trace_parent: str, *, request_id: str) -> AbstractContextManager[RequestSpan]:
        """Do nothing."""
        del trace_parent, request_id
        return self._nothing


class _Nothing:
    """A request of which nobody hears."""

    trace_parent = ""

    def note(self, name: str, value: str | int) -> None:
        """Forget it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let errors through."""
