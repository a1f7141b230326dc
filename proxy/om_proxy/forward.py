"""Sends an admitted call to its provider and reports its one outcome, however it ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiohttp import web
from yarl import URL

from om_proxy import problem
from om_proxy.headers import as_sent, request_headers
from om_proxy.off_loop import INLINE_BYTES_MAX
from om_proxy.outcome import Intent
from om_proxy.provider import Provider
from om_proxy.refusal import Problem
from om_proxy.relay import relay
from om_proxy.report import Reporter
from om_proxy.route import Target
from om_proxy.secret import Credential
from om_proxy.tally import Tally
from om_proxy.upstream import Upstream, UpstreamTimeout, UpstreamUnreachable


@dataclass(frozen=True, slots=True)
class Origins:
    """Where requests go: a fixed origin for each provider, and the simulator's."""

    providers: dict[str, str]
    sandbox: str


@dataclass(frozen=True, slots=True)
class Sending:
    """A request that is understood and admitted."""

    intent: Intent
    provider: Provider
    target: Target
    credential: Credential


class Forwarder:
    """Everything after admission."""

    def __init__(self, upstream: Upstream, reporter: Reporter, *, origins: Origins) -> None:
        self._upstream = upstream
        self._reporter = reporter
        self._origins = origins
        self._reading: set[asyncio.Task[None]] = set()

    async def forward(self, request: web.BaseRequest, sending: Sending) -> web.StreamResponse | Problem:
        """Forward a call. The caller's leaving cancels this, and with it the call at the provider."""
        tally = Tally(sending.intent, sending.provider)
        shape = sending.provider.shape
        try:
            async with self._upstream.send(
                self._url(request, sending),
                _headers(request, sending),
                body=sending.intent.call.body,
                upload=tally.upload,
            ) as answer:
                tally.answered(answer)
                return await relay(request, answer, upstream=self._upstream, tally=tally)
        except UpstreamUnreachable as error:
            return problem.upstream_unreachable(shape, sent=error.sent)
        except UpstreamTimeout as error:
            return problem.upstream_timeout(shape, sent=error.sent)
        finally:
            self._conclude(tally)

    async def close(self) -> None:
        """Wait for the outcomes that are still being read."""
        await asyncio.gather(*self._reading)

    def _conclude(self, tally: Tally) -> None:
        """Report the outcome. A large answer is read in a thread, for which nobody here may wait."""
        if tally.bytes_seen <= INLINE_BYTES_MAX:
            self._reporter.report(tally.event())
            return
        task = asyncio.create_task(self._read_and_report(tally))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _read_and_report(self, tally: Tally) -> None:
        self._reporter.report(await asyncio.to_thread(tally.event))

    def _url(self, request: web.BaseRequest, sending: Sending) -> URL:
        origins = self._origins
        origin = origins.sandbox if sending.intent.sandbox else origins.providers[sending.provider.name]
        query = sending.provider.upstream_query(request.raw_path.partition("?")[2])
        # The raw text of path and query goes on as it came; decoding it could change where it points.
        return URL(f"{origin}{sending.target.upstream_path}{'?' if query else ''}{query}", encoded=True)


def _headers(request: web.BaseRequest, sending: Sending) -> list[tuple[str, str]]:
    headers = request_headers(
        as_sent(request.raw_headers),
        sending.credential,
        defaults=sending.provider.default_headers,
        identity=sending.intent.call.usage_added,
    )
    if sending.intent.sandbox:
        # It steers the simulator: a caller could order answers without end.
        headers = [(name, value) for name, value in headers if name.lower() != "x-sim"]
    return headers
