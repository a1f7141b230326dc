"""Sends an admitted call to its provider and reports its one outcome, however it ends."""

from __future__ import annotations

import asyncio
import time
from contextvars import Context
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from om.type.v1 import event_pb2
from om_proxy.abreast import abreast
from om_proxy.admission.outcome import Intent
from om_proxy.call.provider import Provider
from om_proxy.call.route import Target
from om_proxy.counts import Counts
from om_proxy.defect import log_defect
from om_proxy.dialects.attribution import OnDisconnect
from om_proxy.edge.call_book import CallBook
from om_proxy.journal.journal import JournalBroken, JournalFull
from om_proxy.off_loop import INLINE_BYTES_MAX, off_loop
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Problem
from om_proxy.secret import Credential
from om_proxy.tracing import Tracer, Untraced
from om_proxy.upstream.client import Upstream, UpstreamTimeout, UpstreamUnreachable
from om_proxy.upstream.cost_headers import CostHeaders
from om_proxy.upstream.departure import Departure, Drains, read_to_end
from om_proxy.upstream.headers import HeaderList, RawHeaders, request_headers
from om_proxy.upstream.relay import relay
from om_proxy.upstream.tally import Tally
from om_proxy.value import value_type


@dataclass(frozen=True, slots=True)
class Origins:
    """Where requests go: a fixed origin for each provider, and the simulator's."""

    providers: dict[str, str]
    sandbox: str


@value_type(frozen=True, slots=True)
class Sending:
    """A request that is understood and admitted."""

    intent: Intent
    provider: Provider
    target: Target
    credential: Credential


class Forwarder:
    """Everything after admission."""

    def __init__(  # noqa: PLR0913 - the parts of one process, named by the composition root
        self,
        upstream: Upstream,
        book: CallBook,
        *,
        origins: Origins,
        costs: CostHeaders,
        departure: Departure,
        counts: Counts | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._counts = counts or Counts()
        self._tracer = tracer or Untraced()
        self._upstream = upstream
        self._book = book
        self._origins = origins
        self._costs = costs
        self._departure = departure
        self._drains = Drains(departure.drain_s)
        self._reading: set[asyncio.Task[None]] = set()
        #: Calls that have ended in this turn of the loop. One behind the other, they find code and data
        #: where the processor has them at hand, which saves a third of what concluding costs.
        self._ended: list[Tally] = []

    async def forward(self, request: web.BaseRequest, sending: Sending) -> web.StreamResponse | Problem:
        """Forward a call. The caller's leaving cancels this, and what then becomes of the call was chosen."""
        intent, book = sending.intent, self._book
        if intent.call.billable:
            try:
                await book.begin(intent)
            except (JournalFull, JournalBroken):
                return problem.unavailable()
            tally = Tally(
                intent,
                sending.provider,
                on_send=partial(book.sent, intent),
                on_progress=partial(book.checkpoint, intent),
                on_growth=partial(book.extended, intent),
            )
        else:
            tally = Tally(intent, sending.provider)
        said = intent.who.on_disconnect or intent.key.leaving(sending.target.route.operation)
        drains = (said or self._departure.chosen) is OnDisconnect.DRAIN
        exchange = self._exchange(request, sending, tally, drains=drains)
        conclude = partial(self._conclude, tally)
        if drains:
            return await self._drains.outlive(exchange, sent=lambda: tally.upload.sent, ended=conclude)
        try:
            return await exchange
        finally:
            conclude()

    async def _exchange(
        self, request: web.BaseRequest, sending: Sending, tally: Tally, *, drains: bool
    ) -> web.StreamResponse | Problem:
        """Make the call, up to the end of its answer."""
        await abreast()
        with self._tracer.step("upstream", provider=sending.provider.name) as step:
            answer = await self._exchanged(request, sending, tally, drains=drains)
            step.note("http.response.status_code", answer.status)
            return answer

    async def _exchanged(
        self, request: web.BaseRequest, sending: Sending, tally: Tally, *, drains: bool
    ) -> web.StreamResponse | Problem:
        intent, shape = sending.intent, sending.provider.shape
        begun = time.perf_counter()
        try:
            async with self._upstream.send(
                *self._place(request, sending),
                _headers(request, sending),
                upload=tally.upload,
                method=sending.target.route.method,
            ) as answer:
                seconds = time.perf_counter() - begun
                self._counts.upstream(sending.provider.name, status=answer.status, seconds=seconds)
                tally.answered(answer)
                told = partial(self._cost, tally) if intent.who.include_cost else None
                response = await relay(request, answer, upstream=self._upstream, tally=tally, told=told)
                if drains and not answer.closed:
                    most = self._departure.drain_bytes_max
                    await read_to_end(answer, upstream=self._upstream, tally=tally, bytes_max=most)
                return response
        except UpstreamUnreachable as error:
            return problem.upstream_unreachable(shape, sent=error.sent)
        except UpstreamTimeout as error:
            return problem.upstream_timeout(shape, sent=error.sent)

    async def close(self, grace_s: float = 0) -> None:
        """Wait for calls without a caller, for so long, and for the outcomes that are still being read."""
        await self._drains.close(grace_s)
        self._conclude_ended()
        await asyncio.gather(*self._reading)

    async def _cost(self, tally: Tally) -> HeaderList:
        """Ask what a call cost whose answer is complete."""
        event = await off_loop(tally.bytes_seen, tally.event)
        return await self._costs.of(tally.intent.who.api_key, event)

    def _conclude(self, tally: Tally) -> None:
        """Report the outcome. A large answer is read in a thread, for which nobody here may wait."""
        if tally.bytes_seen <= INLINE_BYTES_MAX:
            if not self._ended:
                # Without the call's own context: its name must not stand at what is said of others.
                asyncio.get_running_loop().call_soon(self._conclude_ended, context=Context())
            self._ended.append(tally)
            return
        task = asyncio.create_task(self._read_and_conclude(tally))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    def _conclude_ended(self) -> None:
        ended, self._ended = self._ended, []
        for tally in ended:
            try:
                self._finish(tally, tally.event())
            except Exception as error:  # noqa: BLE001 - the others have ended, too.
                log_defect("call_not_concluded", error, event_id=tally.intent.event_id)

    async def _read_and_conclude(self, tally: Tally) -> None:
        self._finish(tally, await asyncio.to_thread(tally.event))

    def _finish(self, tally: Tally, event: event_pb2.UsageEvent) -> None:
        if tally.intent.call.billable:
            self._book.conclude(tally.intent, event)
        for end in tally.job_ends:
            self._book.job_ended(end)

    def _place(self, request: web.BaseRequest, sending: Sending) -> tuple[str, str]:
        """Give the origin, and path and query there."""
        origins = self._origins
        origin, path = origins.providers[sending.provider.name], sending.target.upstream_path
        if sending.intent.sandbox:
            origin, path = origins.sandbox, sending.target.simulated_path or path
        query = sending.provider.upstream_query(request.raw_path.partition("?")[2])
        # The raw text of path and query goes on as it came; decoding it could change where it points.
        return origin, f"{path}?{query}" if query else path


def _headers(request: web.BaseRequest, sending: Sending) -> RawHeaders:
    return request_headers(
        request.raw_headers,
        sending.credential,
        defaults=sending.provider.default_headers,
        identity=sending.intent.call.usage_added,
    )
