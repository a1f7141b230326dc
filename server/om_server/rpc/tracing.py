"""What traces calls and settlement, if anything does. Traces begin outside; here they only go on."""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

#: The metadata that carries a trace (W3C Trace Context).
TRACE_PARENT = "traceparent"


class Tracer(Protocol):
    """Traces what is part of somebody's trace."""

    def span(
        self, name: str, trace_parent: str, *, attributes: Mapping[str, str]
    ) -> AbstractContextManager[str]:
        """Trace a block; gives how others name it as theirs. Without a trace to go on with, nothing."""

    def since(self, name: str, trace_parent: str, *, start_us: int, attributes: Mapping[str, str]) -> None:
        """Trace what began at a time and ends now."""


class Untraced:
    """Traces nothing."""

    @contextlib.contextmanager
    def span(self, name: str, trace_parent: str, *, attributes: Mapping[str, str]) -> Iterator[str]:
        del name, trace_parent, attributes
        yield ""

    def since(self, name: str, trace_parent: str, *, start_us: int, attributes: Mapping[str, str]) -> None:
        """Forget it."""
