"""Whether the process lives, and whether it can admit calls."""

from __future__ import annotations

import asyncio

from aiohttp import web

_SERVICE = "ai-proxy-service"
_UNCACHED = {"Cache-Control": "no-store", "Vary": "Authorization"}


class Health:
    """Answers the addresses that are about it."""

    def __init__(self, ready: asyncio.Event) -> None:
        self._ready = ready
        #: Whether the process is about to end: it answers what came, and is to be sent nothing more.
        self.ending = False

    def answer(self, method: str, raw_path: str) -> web.Response | None:
        """The published bodies; the connectivity test of the documents uses POST. None for other paths."""
        if not raw_path.startswith("/health") or method not in {"GET", "HEAD", "POST"}:
            return None
        path = raw_path.partition("?")[0]
        if path == "/health":
            return web.json_response({"status": "healthy", "service": _SERVICE}, headers=_UNCACHED)
        if path == "/health/live":
            return web.json_response({"status": "live"}, headers=_UNCACHED)
        if path == "/health/ready":
            ready = self._ready.is_set() and not self.ending
            state = {"status": "ready" if ready else "ending" if self.ending else "starting"}
            return web.json_response(state, status=200 if ready else 503, headers=_UNCACHED)
        return None
