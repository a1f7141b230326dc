"""The published way through a list: how many rows, and how many to pass over."""

from dataclasses import dataclass

from om_server.rest.documented.query import Query

_LIMIT_DEFAULT = 50
_LIMIT_MAX = 100
_OFFSET_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class PageWindow:
    """Which rows of a list were asked for."""

    limit: int
    offset: int

    def body(self, total: int) -> dict[str, object]:
        """The published `pagination`, beside the number of rows in the whole list."""
        return {"total": total, "limit": self.limit, "offset": self.offset}


def read_window(query: Query) -> PageWindow:
    """The window that a query asks for; RequestMalformed names a number that is out of its range."""
    return PageWindow(
        limit=query.integer("limit", default=_LIMIT_DEFAULT, least=1, most=_LIMIT_MAX),
        offset=query.integer("offset", default=0, least=0, most=_OFFSET_MAX),
    )
