"""What an edge declares about a lease, and what that frees: section 3 of the edge contract, pure."""

import enum
from dataclasses import dataclass, replace

from om_server.wallet.grant import Slice
from om_server.wallet.leases.lease import ENDED, Lease, LeaseReport, LeaseState


class Alarm(enum.StrEnum):
    """Why somebody should look at a lease."""

    #: A declaration contradicts another one, or what has settled.
    CONTRADICTED = "lease_contradicted"
    #: The edge says that its events keep more than it was given.
    OVERSPENT = "lease_overspent"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A lease after a report, and how much of it is to be released at once."""

    lease: Lease
    release: int = 0
    alarm: Alarm | None = None


def declare(lease: Lease, report: LeaseReport) -> Declaration:
    """Believe the first report, later ones only that less is kept; one that contradicts quarantines.

    A repeat changes nothing. Nothing that is reported about a lease in quarantine frees anything: the
    edge's word is in doubt, and only what was declared before, or an owner, ends it.
    """
    if lease.state in ENDED or lease.state is LeaseState.QUARANTINED:
        differs = lease.state is LeaseState.CLOSED and lease.final_count != report.final_count
        return Declaration(lease, alarm=Alarm.CONTRADICTED if differs else None)
    if not _consistent(lease, report):
        return Declaration(replace(lease, state=LeaseState.QUARANTINED), alarm=Alarm.CONTRADICTED)
    before = lease.amount if lease.keep is None else lease.keep
    keep = report.keep if lease.keep is None else min(lease.keep, report.keep)
    after = replace(lease, final_count=report.final_count, keep=keep, state=LeaseState.CLOSING)
    if lease.settled_count == report.final_count:
        return Declaration(after, lease.remaining)
    # What settled events left of their part stays: only the end of the lease frees it.
    alarm = Alarm.OVERSPENT if report.keep > lease.amount else None
    return Declaration(after, min(lease.remaining, max(0, before - keep)), alarm)


def freed(lease: Lease, slices: tuple[Slice, ...]) -> Lease:
    """Return a declared lease after its release, which left these slices; with its last event it is over."""
    remaining = sum(piece.held for piece in slices)
    ended = lease.state is LeaseState.CLOSING and lease.settled_count == lease.final_count
    if ended and remaining:
        raise ValueError(f"lease {lease.lease_id} would end with {remaining} set aside")
    return replace(
        lease, remaining=remaining, slices=slices, state=LeaseState.CLOSED if ended else lease.state
    )


def quarantined(lease: Lease) -> Lease:
    """Return a lease of a past that the edge cannot vouch for; a count that was declared in time stands."""
    return replace(lease, state=LeaseState.QUARANTINED) if lease.state is LeaseState.OPEN else lease


def _consistent(lease: Lease, report: LeaseReport) -> bool:
    if report.final_count < lease.settled_count or 0 < lease.max_intents < report.final_count:
        return False
    # A lease for one intent has its count from birth, and loses it if no intent was written.
    unused = lease.keep is None and report.final_count == 0
    return lease.final_count in (None, report.final_count) or unused
