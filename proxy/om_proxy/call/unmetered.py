"""Requests that consume nothing: they pass as they came, and nothing of their answers is read."""

from __future__ import annotations

from om_proxy.call.call import NOTHING, Call
from om_proxy.call.route import Target
from om_proxy.metering.reading import Metered


def passed_call(target: Target, body: bytes) -> Call:
    """Make the call of a route that is not billable; nothing in its body is looked at."""
    return Call(
        provider=target.route.provider,
        operation=target.route.operation,
        model=target.model or "",
        stream=False,
        tier="",
        body=body,
        demand=NOTHING,
        billable=False,
        usage=target.route.usage,
    )


class NoUsage:
    """Reads nothing, because nothing was consumed."""

    visible_bytes = 0

    def read(self, document: bytes) -> None:
        """Ignore it."""

    def metered(self) -> Metered:
        """Say that nothing was consumed."""
        return Metered(())
