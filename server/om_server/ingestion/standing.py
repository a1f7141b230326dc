"""Where an event stands between intake and settlement, and what became of a dead letter."""

import enum
from dataclasses import dataclass
from typing import Protocol


class EventState(enum.Enum):
    """The names are the contract's."""

    QUEUED = "QUEUED"
    CHARGED = "CHARGED"
    UNRATED = "UNRATED"
    ZERO = "ZERO"
    DEAD_LETTER = "DEAD_LETTER"
    DEFERRED = "DEFERRED"


@dataclass(frozen=True, slots=True)
class EventStanding:
    """A state; `reason`, an ErrorReason, and `message` tell why an event is a dead letter."""

    state: EventState
    settle_time: int | None = None
    reason: str = ""
    message: str = ""


class LetterState(enum.Enum):
    """The names are the contract's."""

    SETTLED = "SETTLED"
    DISCARDED = "DISCARDED"
    FAILED = "FAILED"
    NOT_FOUND = "NOT_FOUND"


@dataclass(frozen=True, slots=True)
class LetterResult:
    """The answer for one letter. `reason`, an ErrorReason, and `message` are empty unless it failed."""

    dead_letter_id: str
    event_id: str
    state: LetterState
    reason: str = ""
    message: str = ""


class SettledStandings(Protocol):
    """Knows the events that are settled."""

    def __call__(self, organization_id: str, *, source: str, event_id: str) -> EventStanding | None:
        """Where a settled event stands; None for one that is not settled."""
