"""Forces the journal to the disk for many calls at once, in a thread: OM_JOURNAL_FSYNC=batch.

While one group is on its way to the disk the next one gathers, so a call waits for at most two; what nobody
waits for is there a few milliseconds later.
"""

from __future__ import annotations

import asyncio
import contextlib

from om_proxy.journal.journal import Journal, JournalBroken

_LINGER_S = 0.005


class GroupSync:
    """A task and the calls that wait for it. An edge without it has its journal written by the kernel."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._written = asyncio.Event()
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._task = asyncio.create_task(self._run(), name="journal-sync")

    async def flush(self) -> None:
        """Wait until all that is written by now is on the disk. JournalBroken where that failed."""
        if self._journal.broken:
            raise JournalBroken
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._written.set()
        self._wanted.set()
        await done

    def note(self) -> None:
        """Say that something was written for which nobody waits."""
        self._written.set()

    async def close(self) -> None:
        """End. What is written goes to the disk when the journal is closed."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._answer(JournalBroken())

    async def _run(self) -> None:
        while True:
            await self._written.wait()
            if not self._waiting:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LINGER_S):
                        await self._wanted.wait()
            self._written.clear()
            self._wanted.clear()
            group, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._journal.sync)
            except JournalBroken as error:
                self._waiting += group
                self._answer(error)
                self._journal.fail()
                return
            for done in group:
                if not done.done():
                    done.set_result(None)

    def _answer(self, error: JournalBroken) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            if not done.done():
                done.set_exception(error)
