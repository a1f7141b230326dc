"""Which version an event gets that names a prompt and no version: the one active at its own time. Pure.

What was active is history that never changes, so a late event and a replayed one get what they would
have got in time. No active version is no error: the event stays without one.
"""

import dataclasses
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from om_server.core.event import Attribution, Event

_EVENT_FIELDS = [field.name for field in dataclasses.fields(Event)]
_ATTRIBUTION_FIELDS = [field.name for field in dataclasses.fields(Attribution)]
_VALUES = attrgetter(*_EVENT_FIELDS)
_LABELS = attrgetter(*_ATTRIBUTION_FIELDS)
_ATTRIBUTION = _EVENT_FIELDS.index("attribution")
_VERSION = _ATTRIBUTION_FIELDS.index("prompt_version")


@dataclass(frozen=True, slots=True)
class Standing:
    """The version that is active since a time; None for none, 0 for no activation ever."""

    active_version: int | None = None
    active_since: int = 0


@dataclass(frozen=True, slots=True)
class Activation:
    """From when a version was active, or none."""

    from_time: int
    version: int | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """The activations of one prompt, oldest first, no two at one time."""

    activations: Sequence[Activation] = ()

    def at(self, time: int) -> int | None:
        """Return the version that was active at a time; before the first activation none was."""
        place = bisect_right(self.activations, time, key=lambda activation: activation.from_time)
        return self.activations[place - 1].version if place else None


@dataclass(frozen=True, slots=True)
class Tracked:
    """Events with their versions, in the order given, and the keys that no prompt has yet."""

    events: Sequence[Event]
    new_keys: Sequence[str] = ()


def prompt_keys(events: Iterable[Event]) -> list[str]:
    """Return the prompts that events name, sorted; an event without one names none."""
    return sorted({event.attribution.prompt_key for event in events} - {""})


def late_times(events: Iterable[Event], standings: Mapping[str, Standing]) -> dict[str, int]:
    """Return the prompts whose history is needed, with the latest time that it is needed for.

    Most events happened after the last activation, and their version stands with the prompt.
    """
    late: dict[str, int] = {}
    for event in events:
        key, time = event.attribution.prompt_key, event.event_time
        standing = standings.get(key)
        if standing is not None and _open(event) and time < standing.active_since:
            late[key] = max(late.get(key, time), time)
    return late


def attached(
    events: Iterable[Event], standings: Mapping[str, Standing], *, past: Mapping[str, Timeline]
) -> list[Event]:
    """Return the events, those without a version with the one that was active. `past` is for the late."""
    return [
        _with_version(event, _version_of(event, standings, past=past)) if _open(event) else event
        for event in events
    ]


def _open(event: Event) -> bool:
    attribution = event.attribution
    return attribution.prompt_version is None and attribution.prompt_key != ""


def _version_of(
    event: Event, standings: Mapping[str, Standing], *, past: Mapping[str, Timeline]
) -> int | None:
    key, time = event.attribution.prompt_key, event.event_time
    standing = standings.get(key)
    if standing is None:
        return None
    return standing.active_version if time >= standing.active_since else past[key].at(time)


def _with_version(event: Event, version: int | None) -> Event:
    if version is None:
        return event
    # Every event of a prompt with an active version comes here, and dataclasses.replace takes twice as long.
    labels = list(_LABELS(event.attribution))
    labels[_VERSION] = version
    values = list(_VALUES(event))
    values[_ATTRIBUTION] = Attribution(*labels)
    return Event(*values)
