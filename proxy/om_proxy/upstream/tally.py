"""What is known of a call that was sent, for the one event at its end.

Everything of ours that looks at an answer is called from here and nowhere else, and no defect of it
leaves here: the bytes go on, and the event says that the figures are not the provider's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable

from om.type.v1 import event_pb2
from om_proxy.admission import outcome
from om_proxy.admission.outcome import Intent
from om_proxy.call.provider import Provider
from om_proxy.defect import log_defect
from om_proxy.metering.include_usage import UsageEventFilter
from om_proxy.metering.reading import Metered
from om_proxy.refusals import problem
from om_proxy.refusals.ending import WholeEvents, last_event
from om_proxy.refusals.refusal import Problem
from om_proxy.upstream.answer import Answer
from om_proxy.upstream.meter import Meter, open_meter
from om_proxy.upstream.upload import Upload

#: A stream is written down so often: what a crash loses of it is estimated from there.
_CHECKPOINT_BYTES = 32 * 1024
_CHECKPOINT_S = 1.0
#: How a route says that its events have names and numbers.
_RESPONSES = "terminal response"


class Tally:
    """One call from its sending to its event."""

    def __init__(
        self,
        intent: Intent,
        provider: Provider,
        *,
        on_send: Callable[[], None] = lambda: None,
        on_progress: Callable[[Metered], None] | None = None,
        on_growth: Callable[[Metered], Awaitable[None]] | None = None,
    ) -> None:
        """`on_progress` is called every now and then in a stream, `on_growth` when its grant has grown."""
        self.intent = intent
        self.upload = Upload(intent.call.body, on_send)
        self.bytes_seen = 0
        #: Of deferred work, as the answer shows it; known once the event is.
        self.job_ends: list[event_pb2.UsageEvent] = []
        #: Of a stream whose grant grows with it: it can be ended behind any of its events.
        self.whole_events: WholeEvents | None = None
        self.edits = False  # The answer loses an event that the caller did not ask for.
        self._provider = provider
        self._meter: Meter | None = None
        self._filter: UsageEventFilter | None = None
        self._defective = False
        self._http_status = 0
        self._event: event_pb2.UsageEvent | None = None
        self._concluding = threading.Lock()
        self._started = self._checked_at = time.monotonic()
        self._checked_bytes = 0
        self._on_progress = on_progress if intent.call.stream else None
        self._on_growth = on_growth
        # Its job is written down at once: estimated after a crash, it would be charged beside its end.
        self._awaits_job = intent.call.deferrable

    def answered(self, answer: Answer) -> None:
        """Note the status; only a success is metered, because a refusal consumes nothing."""
        self._http_status = answer.status
        if not 200 <= answer.status < 300:  # noqa: PLR2004 - the statuses of success
            return
        content_type, content_encoding = answer.header(b"content-type"), answer.header(b"content-encoding")
        if self.intent.call.usage_added:
            self._filter, self.edits = UsageEventFilter(), True
        if self.intent.stretch is not None:
            self.whole_events = WholeEvents()
            kind = content_type.lower()
            coding = (content_encoding or "identity").lower()
            self.whole_events.clean = kind.startswith("text/event-stream") and coding == "identity"
        try:
            self._meter = open_meter(
                self._provider,
                self.intent.call,
                content_type=content_type,
                content_encoding=content_encoding,
                counted=self.intent.stretch is not None,
            )
        except Exception as error:  # noqa: BLE001 - see above.
            self._note("meter_failed", error)

    def take(self, chunk: bytes) -> bytes:
        """Meter the next bytes of the answer and give those that go on to the caller."""
        self.bytes_seen += len(chunk)
        if self._meter is not None and not self._defective:
            try:
                self._meter.feed(chunk)
                if self._on_progress is not None:
                    self._check(self._meter, self._on_progress)
            except Exception as error:  # noqa: BLE001 - see above.
                self._note("meter_failed", error)
        passed = chunk if self._filter is None else self._filtered(self._filter, chunk)
        events = self.whole_events
        return events.feed(passed) if events is not None and events.clean else passed

    async def short(self) -> Problem | None:
        """Pay for what was taken and is to be passed on, or say why that cannot be."""
        stretch, events = self.intent.stretch, self.whole_events
        if stretch is None or events is None:
            return None
        if self._meter is None or self._defective:
            # Nobody can say any more how much was written.
            return problem.proxy_error()
        return await stretch.cover(self._meter.tokens_max + len(events.held), self._grown)

    def ending(self, why: Problem) -> bytes | None:
        """Write the last event of a stream that is ended; None where no event can be added to it."""
        if self.whole_events is None or not self.whole_events.clean or self._meter is None:
            return None
        responses = self.intent.call.usage == _RESPONSES
        number = self._meter.documents
        return last_event(why, self._provider.shape, responses=responses, number=number)

    async def _grown(self) -> None:
        if self._on_growth is not None and self._meter is not None:
            await self._on_growth(self._meter.so_far())

    def rest(self) -> bytes:
        """Give what was held back, at the end of the answer."""
        events = self.whole_events
        if events is not None:
            return events.finish() + self._rest()
        return self._rest()

    def _rest(self) -> bytes:
        if self._filter is None:
            return b""
        held, edit, self._filter = self._filter.held, self._filter, None
        try:
            return edit.finish()
        except Exception as error:  # noqa: BLE001 - see above.
            self._note("filter_failed", error)
            return held

    def event(self) -> event_pb2.UsageEvent:
        """Tell how it ended, the same again to whoever asks again."""
        # Who wants to know the cost may leave while a thread reads, and the call is concluded then.
        with self._concluding:
            if self._event is None:
                self._event = self._concluded()
            return self._event

    def _concluded(self) -> event_pb2.UsageEvent:
        # Sent and never answered: the provider may have worked, so it is estimated.
        intent, status = self.intent, self._http_status
        if status and not 200 <= status < 300:  # noqa: PLR2004 - the statuses of success
            return outcome.zero(intent, http_status=status)
        if not status and not self.upload.sent:
            return outcome.zero(intent)
        latency_ms = int((time.monotonic() - self._started) * 1000)
        if not self._defective:
            try:
                meter = self._meter or open_meter(self._provider, intent.call, content_type="")
                metered = meter.finish()
                event = outcome.consumed(intent, metered, http_status=status, latency_ms=latency_ms)
                self.job_ends = outcome.job_ends(intent, metered)
            except Exception as error:  # noqa: BLE001 - see above.
                self._note("meter_failed", error)
            else:
                return event
        return outcome.unread(intent, http_status=status, latency_ms=latency_ms)

    def _check(self, meter: Meter, on_progress: Callable[[Metered], None]) -> None:
        now = time.monotonic()
        if (
            not self._awaits_job
            and self.bytes_seen < self._checked_bytes + _CHECKPOINT_BYTES
            and now < self._checked_at + _CHECKPOINT_S
        ):
            return
        self._checked_bytes, self._checked_at = self.bytes_seen, now
        metered = meter.so_far()
        self._awaits_job = self._awaits_job and metered.job_id is None
        on_progress(metered)

    def _filtered(self, edit: UsageEventFilter, chunk: bytes) -> bytes:
        held = edit.held
        try:
            return edit.feed(chunk)
        except Exception as error:  # noqa: BLE001 - see above.
            self._note("filter_failed", error)
            self._filter = None
            return held + chunk

    def _note(self, event: str, error: Exception) -> None:
        self._defective = self._defective or event == "meter_failed"
        log_defect(event, error, event_id=self.intent.event_id)
