"""What a proxy counts while it serves: plain numbers, written on the event loop and read when somebody asks.

The metrics library takes a lock for each of its counters, and a call would take a dozen.
"""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict
from collections.abc import Sequence

from om.type.v1 import event_pb2

_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_OUTCOMES = {value: name.removeprefix("OUTCOME_") for name, value in event_pb2.Outcome.items()}
_SANDBOX = "SANDBOX"
#: A request on no route has neither provider nor route.
NONE = "none"
#: How a request ended whose caller did not wait for its answer.
LEFT = "left"
#: Refusals that report what a provider did, and what that was.
_FAULTS = {"upstream_timeout": "timeout", "upstream_unreachable": "unreachable"}


class Distribution:
    """How many of some times were at most so long."""

    def __init__(self, bounds: Sequence[float] = _BOUNDS_S) -> None:
        self.total = 0.0
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)

    def note(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Give upper bounds and how many were at most so large, as Prometheus has them."""
        names = [*map(str, self._bounds), "+Inf"]
        return list(zip(names, itertools.accumulate(map(float, self._counts)), strict=True))


class Counts:
    """Every name in here is of a list of ours: providers, routes, codes, units; never what a caller wrote."""

    def __init__(self) -> None:
        #: By provider, route and status class.
        self.requests: defaultdict[tuple[str, ...], int] = defaultdict(int)
        #: By provider.
        self.request_s: defaultdict[str, Distribution] = defaultdict(Distribution)
        self.upstream_s: defaultdict[str, Distribution] = defaultdict(Distribution)
        #: By code.
        self.refusals: defaultdict[str, int] = defaultdict(int)
        #: By provider and kind.
        self.provider_errors: defaultdict[tuple[str, ...], int] = defaultdict(int)
        #: By outcome.
        self.outcomes: defaultdict[str, int] = defaultdict(int)
        #: By provider and unit, in the unit's smallest step.
        self.quantities: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def answered(self, provider: str, route: str, *, status: int, seconds: float) -> None:
        """Count a request and the answer to it, whoever gave that."""
        self.requests[provider, route, f"{status // 100}xx"] += 1
        self.request_s[provider].note(seconds)

    def left(self, provider: str, route: str) -> None:
        """Count a request whose caller left."""
        self.requests[provider, route, LEFT] += 1

    def refused(self, code: str, provider: str = NONE) -> None:
        """Count an answer that is the proxy's own; some of them report what a provider did."""
        self.refusals[code] += 1
        if (fault := _FAULTS.get(code)) is not None:
            self.provider_errors[provider, fault] += 1

    def upstream(self, provider: str, *, status: int, seconds: float) -> None:
        """Count the head of a provider's answer."""
        self.upstream_s[provider].note(seconds)
        if status >= 400:  # noqa: PLR2004 - the statuses of errors
            # Its own word for too many requests is what an operator acts on.
            kind = "status_429" if status == 429 else f"status_{status // 100}xx"  # noqa: PLR2004
            self.provider_errors[provider, kind] += 1

    def concluded(self, event: event_pb2.UsageEvent) -> None:
        """Count the outcome of a call, and what it consumed; the simulator's answers consume nothing."""
        if event.sandbox:
            self.outcomes[_SANDBOX] += 1
            return
        self.outcomes[_OUTCOMES[event.outcome]] += 1
        for line in event.lines:
            for quantity in line.usage.quantities:
                self.quantities[line.provider, quantity.unit] += quantity.amount
