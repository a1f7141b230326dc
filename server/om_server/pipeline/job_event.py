"""Which events belong to a job, and what becomes of two of one job. Pure.

A call that goes on is reported as DEFERRED with its job id, by the edge that admitted it. The terminal
object is reported as the event `job:<provider>:<job_id>` by whichever edge saw it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from om_server.core.event import Outcome
from om_server.core.usage import Usage
from om_server.ingestion.job import JobKey
from om_server.pipeline.rated_event import ESTIMATED
from om_server.rating.model import canonical_provider
from om_server.wallet.charging import SUSPENDED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from om_server.core.event import Event
    from om_server.core.usage import Quantity

_PREFIX = "job"
_PART = "part"
_ENDS = frozenset({Outcome.CHARGED, Outcome.ESTIMATED, Outcome.ZERO})

#: The call brings only its money back: its job was charged by another event.
JOB_REPEATED = "job_repeated"
#: The terminal object of a job whose call nobody reported in time.
JOB_ALONE = "job_alone"


def terminal_key(organization_id: str, event_id: str) -> JobKey | None:
    """Return the job whose terminal object has this id; None for the id of anything else."""
    prefix, _, rest = event_id.partition(":")
    provider, _, job_id = rest.partition(":")
    if prefix != _PREFIX or not provider.strip() or not job_id:
        return None
    return JobKey(organization_id, canonical_provider(provider), job_id)


def ended_job(event: Event) -> JobKey | None:
    """Return the job that an event ends, if it is a terminal object that an edge saw."""
    if event.edge is None or event.outcome not in _ENDS:
        return None
    return terminal_key(event.organization_id, event.event_id)


def deferred_job(event: Event) -> JobKey | None:
    """Return the job that an edge's call left behind, by the provider of its first line.

    Nobody can end one that names no provider or no job. It is known by the event instead, under the
    empty provider, which no terminal object has.
    """
    if event.edge is None or event.outcome is not Outcome.DEFERRED:
        return None
    provider = canonical_provider(event.lines[0].provider) if event.lines else ""
    if not provider or not event.job_id:
        return JobKey(event.organization_id, "", f"{event.source}:{event.event_id}")
    return JobKey(event.organization_id, provider, event.job_id)


def part_of_batch(event: Event) -> bool:
    """Whether an event is the result of one request of a batch, as a poll showed it.

    Polls are not admitted, so that nobody has decided who pays for it. It is no end of a job either: its
    price depends on its own size, and the job's end only frees what was held for all of them.
    """
    prefix, _, rest = event.event_id.partition(":")
    return event.edge is not None and prefix == _PART and bool(rest) and not event.wallet_id


def ended(deferred: Event, terminal: Event) -> Event:
    """Return the call with what its job used: its own attribution, funding and time, the other's usage.

    Where the terminal object does not say how much it was and the request did (seconds of video), the
    lines are the call's.
    """
    # If it waits for a price from here on, that is charged from suspense, without an owner.
    flags = tuple(flag for flag in deferred.flags if flag not in (SUSPENDED, ESTIMATED))
    missing = {quantity.unit for quantity in _quantities(terminal) if quantity.amount is None}
    known = {quantity.unit for quantity in _quantities(deferred) if quantity.amount is not None}
    if missing and missing <= known:
        guessed = any(line.usage.estimated for line in deferred.lines)
        outcome = Outcome.ESTIMATED if guessed else Outcome.CHARGED
        return dataclasses.replace(deferred, outcome=outcome, flags=flags)
    return dataclasses.replace(deferred, lines=terminal.lines, outcome=terminal.outcome, flags=flags)


def _quantities(event: Event) -> Iterator[Quantity]:
    return (quantity for line in event.lines for quantity in line.usage.quantities)


def freed(deferred: Event) -> Event:
    """Return the call without consumption, which its job has reported elsewhere."""
    lines = tuple(dataclasses.replace(line, usage=Usage(()), raw_usage="") for line in deferred.lines)
    flags = (*deferred.flags, JOB_REPEATED)
    return dataclasses.replace(deferred, lines=lines, outcome=Outcome.ZERO, flags=flags)


def parked(terminal: Event) -> Event:
    """Return a terminal object as it waits. What leases it names have counted it by then."""
    return dataclasses.replace(terminal, funding=())


def alone(terminal: Event) -> Event:
    """Return a terminal object that nobody waits with any longer."""
    return dataclasses.replace(terminal, flags=(*terminal.flags, JOB_ALONE))
