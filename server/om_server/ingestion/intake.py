"""The rules of intake, pure: who may say what in an event, how it is named, and which times are believed."""

from __future__ import annotations

import dataclasses

from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import Code, DomainError
from om_server.core.event import SOURCE_PROXY, EdgePosition, Event, Outcome
from om_server.core.ids import id_as_uuid, id_pattern

_UUID_CHARACTERS = 36
_DAY = 86_400 * MICROS_PER_SECOND
#: Events are kept this long, so an older one would be gone before anybody saw it.
EVENT_AGE_MAX = 400 * _DAY

#: The flag of an event whose time was moved into what is believed.
TIME_CLAMPED = "time_clamped"

#: Outcomes that may report no consumption.
_WITHOUT_LINES = frozenset({Outcome.ZERO, Outcome.DEFERRED, Outcome.UNKNOWN})


class EventIdMissing(DomainError):
    """Without an id an event could be charged twice."""

    code = Code.INVALID_ARGUMENT
    reason = "EVENT_ID_MISSING"

    def __init__(self) -> None:
        super().__init__("the event has no id")


class EventEmpty(DomainError):
    """The event reports no consumption, which is not the same as none."""

    code = Code.INVALID_ARGUMENT
    reason = "EVENT_EMPTY"

    def __init__(self) -> None:
        super().__init__("the event reports no consumption")


class EventTimeOutOfRange(DomainError):
    """The event is older than events are kept."""

    code = Code.INVALID_ARGUMENT
    reason = "EVENT_TIME_OUT_OF_RANGE"

    def __init__(self, event_time: int) -> None:
        days = EVENT_AGE_MAX // _DAY
        super().__init__(f"the event happened more than {days} days ago", occur_time=str(event_time))


class EdgeFieldForbidden(DomainError):
    """Only an edge may claim funding, a place in a journal or the source proxy."""

    code = Code.PERMISSION_DENIED
    reason = "EDGE_FIELD_FORBIDDEN"

    def __init__(self, field: str) -> None:
        super().__init__(f"only an edge may set {field}", field=field)


class EventConflict(DomainError):
    """The identity was used with another payload."""

    code = Code.ALREADY_EXISTS
    reason = "EVENT_CONFLICT"

    def __init__(self, event: Event) -> None:
        super().__init__(
            f"event {event.event_id} of {event.source} came before with another payload",
            event_id=event.event_id,
            source=event.source,
        )


def check_identity(event: Event) -> None:
    """EVENT_ID_MISSING for an empty id."""
    if not event.event_id.strip():
        raise EventIdMissing


def check_consumption(event: Event) -> None:
    """EVENT_EMPTY for an event that reports nothing and is no outcome without consumption."""
    if event.outcome in _WITHOUT_LINES:
        return
    if not event.lines or not any(line.usage.quantities for line in event.lines):
        raise EventEmpty


def check_caller_fields(event: Event) -> None:
    """EDGE_FIELD_FORBIDDEN where an API key claims what only an edge knows."""
    claimed = {
        "source": event.source == SOURCE_PROXY,
        "funding": bool(event.funding),
        "wallet_id": bool(event.wallet_id),
        "job_id": bool(event.job_id),
        "unfunded": event.unfunded,
        "outcome": event.outcome is not Outcome.CHARGED,
    }
    for field, is_claimed in claimed.items():
        if is_claimed:
            raise EdgeFieldForbidden(field)


def normalize_customer(event: Event) -> Event:
    """Name the organization itself in one way: as a customer it has no id, so that sums never split."""
    customer_id = event.attribution.customer_id
    if customer_id != event.organization_id and not _is_uuid_of(customer_id, event.organization_id):
        return event
    return dataclasses.replace(event, attribution=dataclasses.replace(event.attribution, customer_id=""))


def _is_uuid_of(customer_id: str, organization_id: str) -> bool:
    """Tell whether this is the organization's id as it was published to it at registration."""
    # The length first: this runs for each event.
    if len(customer_id) != _UUID_CHARACTERS or not id_pattern("org").fullmatch(organization_id):
        return False
    return customer_id.lower() == id_as_uuid(organization_id)


def believe_time(event: Event) -> Event:
    """Lower a future time to the time of receipt and flag it; EVENT_TIME_OUT_OF_RANGE for one too old.

    An edge's event is never refused, so one that is too old is raised to the oldest believed time.
    """
    oldest = event.receive_time - EVENT_AGE_MAX
    if oldest <= event.event_time <= event.receive_time:
        return event
    if event.event_time < oldest and event.edge is None:
        raise EventTimeOutOfRange(event.event_time)
    believed = max(oldest, min(event.event_time, event.receive_time))
    return dataclasses.replace(event, event_time=believed, flags=(*event.flags, TIME_CLAMPED))


def letter_id(event_id: str, edge: EdgePosition) -> str:
    """Name an edge's event that is set aside: by its place in the journal where its id is no name.

    Two events without an id would otherwise be one dead letter. No database stores a zero character.
    """
    if event_id.strip() and "\0" not in event_id:
        return event_id
    return f"{edge.edge_id}:{edge.edge_epoch}:{edge.sequence}"
