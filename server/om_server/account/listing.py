"""Lists that go from the oldest on: where a page starts, and the token of the next one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from om_server.core.errors import PageTokenInvalid
from om_server.core.page import Arguments, PageRequest, decode_token, encode_token

T = TypeVar("T")

# Where a list goes on: after this time, and within it after this id.
Position = tuple[int, str]

_TIME_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a list. The token is empty at the end; `total_size` is only counted where it is asked for."""

    items: tuple[T, ...]
    next_page_token: str
    total_size: int = 0


class Listing:
    """One request for a page of one list, which `arguments` tell apart from every other."""

    def __init__(self, request: PageRequest, **arguments: str) -> None:
        self._request = request
        self._arguments: Arguments = arguments
        self.after = self._position()

    @property
    def limit(self) -> int:
        """How many to fetch: one more than is shown tells whether there is a next page."""
        return self._request.size + 1

    @property
    def skip(self) -> int:
        """How many to pass over after the position."""
        return self._request.skip

    def page(self, found: Sequence[T], position: Callable[[T], Position], *, total_size: int = 0) -> Page[T]:
        """Return the page of what was fetched with `limit`."""
        shown = tuple(found[: self._request.size])
        more = len(found) > len(shown)
        token = encode_token(position(shown[-1]), self._arguments) if more else ""
        return Page(shown, token, total_size)

    def _position(self) -> Position | None:
        match decode_token(self._request.token, self._arguments):
            case None:
                return None
            case (int(time), str(object_id)) if 0 <= time <= _TIME_MAX:
                return time, object_id
            case _:
                # A forged token: the database would fail on what is no time.
                raise PageTokenInvalid
