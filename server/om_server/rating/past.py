"""What may be asked about past events: rate them again, or see what a proposed table would have charged.

Rating knows no events and no wallets: the pipeline answers, behind the two interfaces here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from om_server.core.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Callable

    from om_server.rating.comparison import Compared
    from om_server.rating.stored import BurnTableDraft


@dataclass(frozen=True, slots=True)
class Range:
    """Times of events in microseconds since 1970, the end exclusive."""

    start_time: int
    end_time: int

    def __post_init__(self) -> None:
        if self.end_time <= self.start_time:
            raise InvalidArgument("end_time", "not after the start")


@dataclass(frozen=True, slots=True)
class RerateRequest:
    """Which events to rate again; an empty provider, model or table does not narrow or replace anything."""

    range: Range
    idempotency_key: str
    provider: str = ""
    model: str = ""
    burn_table_id: str = ""
    difference_count: int = 0


@dataclass(frozen=True, slots=True)
class SimulationRequest:
    """A proposed table, and the events to try it on."""

    range: Range
    draft: BurnTableDraft
    difference_count: int = 0


class Simulation(Protocol):
    """A comparison that is made a bounded step at a time."""

    def step(self) -> Compared | None:
        """Compare some more events and return the state so far; None after the last. Blocks on SQL."""


class PastEvents(Protocol):
    """Answers for any organization."""

    def preview(self, organization_id: str, request: RerateRequest) -> Compared:
        """Say what `rerate` would do, and write nothing."""

    def rerate(
        self, organization_id: str, request: RerateRequest, *, actor: str, in_time: Callable[[], bool]
    ) -> Compared:
        """Rate again and move the differences, in as many transactions as it takes while `in_time`."""

    def simulate(self, organization_id: str, request: SimulationRequest) -> Simulation:
        """Begin to compare what was charged with what the table would have charged."""
