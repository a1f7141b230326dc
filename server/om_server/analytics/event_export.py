"""Every event of a range, oldest first, in parts: however many there are, one part is in memory."""

from dataclasses import replace

from om_server.analytics.event_store import EventStore, cursor_behind
from om_server.analytics.query import EventFilter
from om_server.analytics.settled import SettledEvent
from om_server.core.clock import Clock
from om_server.core.page import Cursor
from om_server.storage.database import Database

#: Events that are read at once.
PART_SIZE = 500


def end_of(wanted: EventFilter, *, now: int) -> int:
    """Return when a range ends, now where it does not say."""
    if wanted.end_time is not None:
        return wanted.end_time
    # A caller's clock may be ahead of ours, and then its range is empty, not wrong.
    return max(now, (wanted.start_time or 0) + 1)


class EventExport:
    """Reads parts of an export. Each is a transaction of its own, so that a slow reader holds nothing."""

    def __init__(
        self, database: Database, events: EventStore, *, clock: Clock, part_size: int = PART_SIZE
    ) -> None:
        self._database = database
        self._events = events
        self._clock = clock
        self._part_size = part_size

    def begin(self, wanted: EventFilter) -> EventFilter:
        """Return what to export: an end is set, so that it ends however much is settled meanwhile."""
        return replace(wanted, end_time=end_of(wanted, now=self._clock()))

    def part(
        self, organization_id: str, wanted: EventFilter, *, after: Cursor | None
    ) -> tuple[list[SettledEvent], Cursor | None]:
        """Return the events behind a place, and where to go on; None at the end.

        What settles meanwhile and happened before that place is left out.
        """
        found = self._database.read(
            lambda: self._events.export_page(organization_id, wanted, after=after, limit=self._part_size)
        )
        return found, cursor_behind(found, self._part_size)
