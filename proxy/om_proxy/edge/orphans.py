"""Journals that no worker has any more, because there were more workers: run to their end, without calls."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from om_proxy.background import in_background
from om_proxy.edge.life import EdgeLife
from om_proxy.edge.parts import edge_parts
from om_proxy.journal.boot import boot_id
from om_proxy.journal.home import HomeTaken, IdentityUnreadable
from om_proxy.journal.journal import Journal, open_journal
from om_proxy.server.server_client import ServerClient

_log = structlog.get_logger(__name__)

_LOOK_INTERVAL_S = 1.0


class Orphans:
    """One task, which takes one journal after the other."""

    def __init__(self, server: ServerClient, folder: Path, *, workers: int, synced: bool) -> None:
        self._server = server
        self._folder = folder
        self._workers = workers
        self._synced = synced
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for them and run them in the background."""
        self._task = asyncio.create_task(self._run(), name="orphans")

    async def close(self) -> None:
        """End; what is not done is done at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        left = [
            path
            for path in sorted(self._folder.iterdir())
            if path.name.isdecimal() and int(path.name) >= self._workers
        ]
        while left:
            for path in list(left):
                try:
                    await self._finish(path)
                    left.remove(path)
                except HomeTaken:
                    # A proxy with more workers is about to end, or has this folder too.
                    continue
                except (IdentityUnreadable, OSError) as error:
                    _log.error("orphan_unreadable", journal=path.name, kind=type(error).__name__)
                    left.remove(path)
            await asyncio.sleep(_LOOK_INTERVAL_S)

    async def _finish(self, path: Path) -> None:
        journal = open_journal(path, boot_id=boot_id(), synced=self._synced)
        parts = edge_parts(self._server, journal)
        _log.info("orphan_found", journal=path.name, edge_id=journal.edge.edge_id)
        parts.life.start()
        try:
            async with in_background(parts.watch().run()):
                await self._done(parts.life, journal)
        finally:
            await parts.life.close(ship_grace_s=0.0)

    async def _done(self, life: EdgeLife, journal: Journal) -> None:
        # What is settled and closed is no event here, and need not be noticed at once.
        while not (life.ready.is_set() and journal.done()) and not life.ended.done():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_INTERVAL_S)
