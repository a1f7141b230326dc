"""The network between clients and the server: answers get lost, and the server is away while it is dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import grpc

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.faults.site import Site

T = TypeVar("T")

_TIMEOUT_S = 10.0
#: What a client must try again after: whether it was done is not known.
_PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


class Away(Exception):
    """No answer. The request may have been served."""


class Wire:
    """A channel on which one answer in `lose_every` gets lost; 0 loses none."""

    def __init__(self, site: Site, chance: random.Random, *, lose_every: int = 0) -> None:
        self.channel = site.channel
        self.new_channel = site.new_channel
        self.lost = 0
        self._chance = chance
        self._lose_every = lose_every

    def call(self, method: Callable[..., T], request: Any, *, secret: str) -> T:
        """Call, and perhaps never learn the answer."""
        metadata = (("authorization", f"Bearer {secret}"),)
        try:
            answer = method(request, timeout=_TIMEOUT_S, metadata=metadata)
        except grpc.RpcError as error:
            # Every error of a blocking call is a grpc.Call; the types hide it.
            if error.code() in _PASSING:
                raise Away(str(error)) from error
            raise
        if self._lose_every and self._chance.randrange(self._lose_every) == 0:
            self.lost += 1
            raise Away("the answer got lost")
        return answer
