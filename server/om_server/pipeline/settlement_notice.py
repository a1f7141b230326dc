"""Tells who watches a process of what it has settled: what is counted, traced and logged of each event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from om_server.analytics.settled import SettledEvent
    from om_server.rpc.tracing import Tracer

_log = structlog.get_logger(__name__)


class SettlementNotice:
    """To be called behind the commit. No watcher may fail, or settlement would look as if it had."""

    def __init__(self, count: Callable[[Sequence[SettledEvent]], None], tracer: Tracer) -> None:
        self._count = count
        self._tracer = tracer

    def __call__(self, events: Sequence[SettledEvent]) -> None:
        """Tell of events that were committed."""
        try:
            self._count(events)
            # Found once: to ask a logger for its level takes longer than all the rest.
            debug = _log.bind().debug
            for settled in events:
                event = settled.event
                debug(
                    "event_settled",
                    organization_id=event.organization_id,
                    event_id=event.event_id,
                    state=settled.state.value,
                )
                if event.trace_parent:
                    self._trace(settled)
        except Exception as error:  # noqa: BLE001 - see above
            _log.error("settlement_not_told", cause=type(error).__name__)

    def _trace(self, settled: SettledEvent) -> None:
        """Make a span from the event's receipt on, which shows how long it waited."""
        event = settled.event
        self._tracer.since(
            "settle",
            event.trace_parent,
            start_us=event.receive_time,
            attributes={
                "om.event_id": event.event_id,
                "om.organization_id": event.organization_id,
                "om.state": settled.state.value,
            },
        )
