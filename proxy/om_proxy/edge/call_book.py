"""The one place where calls begin and end: every intent ends in exactly one outcome.

It couples the journal, the leases that pay and the reporter. What is written here first happens afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from om.type.v1 import event_pb2
from om_proxy.abreast import abreast
from om_proxy.admission import outcome
from om_proxy.admission.outcome import Intent
from om_proxy.counts import Counts
from om_proxy.funding.grant import Grant
from om_proxy.journal.group_sync import GroupSync
from om_proxy.journal.journal import Journal, JournalBroken
from om_proxy.metering.reading import Metered


class Desk(Protocol):
    """Where grants come from and go back to."""

    def give_back(self, grant: Grant, kept: Sequence[int]) -> None:
        """End a call, which keeps so much of each part of its grant."""
        ...

    def cancel(self, grant: Grant) -> None:
        """Undo a grant for a call that never began: nothing that is written names its leases for it."""
        ...


class CallBook:
    """Every call of one edge."""

    def __init__(
        self,
        journal: Journal,
        desk: Desk,
        *,
        on_outcome: Callable[[], None],
        group_sync: GroupSync | None = None,
        counts: Counts | None = None,
    ) -> None:
        self.open_count = 0
        self._journal = journal
        self._desk = desk
        self._on_outcome = on_outcome
        self._group_sync = group_sync
        self._counts = counts or Counts()

    async def begin(self, intent: Intent) -> None:
        """Write down a call that is about to be made. JournalFull, JournalBroken: it must not be made."""
        try:
            await abreast()
            self._journal.intend(outcome.pending(intent))
        except BaseException:
            # Whatever it was: a lease would count a call for ever that no record names.
            self._desk.cancel(intent.grant)
            raise
        self.open_count += 1
        if self._group_sync is not None:
            try:
                await self._group_sync.flush()
            except BaseException:
                self.conclude(intent, outcome.zero(intent))
                raise

    def sent(self, intent: Intent) -> None:
        """Write down that its first byte goes upstream now."""
        self._journal.sent(intent.event_id)

    def checkpoint(self, intent: Intent, metered: Metered) -> None:
        """Write down how far it has come."""
        self._journal.checkpoint(outcome.progress(intent, metered))

    async def extended(self, intent: Intent, metered: Metered) -> None:
        """Write down that its grant has grown, before the bytes that it pays for are passed on.

        JournalFull, JournalBroken: they must not be passed on.
        """
        self._journal.extend(outcome.progress(intent, metered))
        if self._group_sync is not None:
            await self._group_sync.flush()

    def conclude(self, intent: Intent, event: event_pb2.UsageEvent) -> None:
        """End a call, once: what it did not keep returns to its leases, and its outcome is shipped."""
        self.open_count -= 1
        self._desk.give_back(intent.grant, [part.retained_nanos for part in event.funding])
        self._write(event)

    def job_ended(self, event: event_pb2.UsageEvent) -> None:
        """Report the end of deferred work, which no intent of ours began."""
        self._write(event)

    def _write(self, event: event_pb2.UsageEvent) -> None:
        self._counts.concluded(event)
        try:
            self._journal.conclude(event)
        except JournalBroken:
            # The process ends, and what was written tells the next one that the call never ended.
            return
        if self._group_sync is not None:
            self._group_sync.note()
        self._on_outcome()
