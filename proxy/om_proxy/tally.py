"""What is known of a call that was sent, for the one event at its end.

Everything of ours that looks at an answer is called from here and nowhere else, and no defect of it
leaves here: the bytes go on, and the event says that the figures are not the provider's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import aiohttp

from om.type.v1 import event_pb2
from om_proxy import outcome
from om_proxy.defect import log_defect
from om_proxy.include_usage import UsageEventFilter
from om_proxy.meter import Meter, open_meter
from om_proxy.outcome import Intent
from om_proxy.provider import Provider
from om_proxy.reading import Metered
from om_proxy.upload import Upload

#: A stream is written down so often: what a crash loses of it is estimated from there.
_CHECKPOINT_BYTES = 32 * 1024
_CHECKPOINT_S = 1.0


class Tally:
    """One call from its sending to its event."""

    def __init__(
        self,
        intent: Intent,
        provider: Provider,
        *,
        on_send: Callable[[], None] = lambda: None,
        on_progress: Callable[[Metered], None] | None = None,
    ) -> None:
        """`on_progress` is called every now and then while a stream goes on."""
        self.intent = intent
        self.upload = Upload(on_send)
        self.bytes_seen = 0
        #: Of deferred work, as the answer shows it; known once the event is.
        self.job_ends: list[event_pb2.UsageEvent] = []
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
        # Its job is written down at once: estimated after a crash, it would be charged beside its end.
        self._awaits_job = intent.call.deferrable

    def answered(self, answer: aiohttp.ClientResponse) -> None:
        """Note the status; only a success is metered, because a refusal consumes nothing."""
        self._http_status = answer.status
        if not 200 <= answer.status < 300:  # noqa: PLR2004 - the statuses of success
            return
        if self.intent.call.usage_added:
            self._filter, self.edits = UsageEventFilter(), True
        try:
            self._meter = open_meter(
                self._provider,
                self.intent.call,
                content_type=answer.headers.get("Content-Type", ""),
                content_encoding=answer.headers.get("Content-Encoding", ""),
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
        return chunk if self._filter is None else self._filtered(self._filter, chunk)

    def rest(self) -> bytes:
        """Give what was held back, at the end of the answer."""
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
