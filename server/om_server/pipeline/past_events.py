"""Rates events again that have a charge: shows what would differ, or moves exactly the difference.

Both go through the same comparison, which rates with the code that settles.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from om_server.analytics.query import EventFilter
from om_server.analytics.revision_store import Revised
from om_server.analytics.settled import SettledState
from om_server.core.audit import AuditEntry, moment
from om_server.core.errors import DependencyUnavailable
from om_server.pipeline.rated_event import rate_event, settled_event
from om_server.rating.comparison import Comparison, Difference
from om_server.rating.model import canonical_provider
from om_server.rating.rerate_store import Asker, Rerate, RerateStore
from om_server.rpc.caller import actor as acting
from om_server.storage.audit import AuditTrail
from om_server.wallet.charging import ChargeResult
from om_server.wallet.revision import Revision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from om_server.analytics.settled import SettledEvent
    from om_server.core.clock import Clock
    from om_server.core.ids import IdSource
    from om_server.core.page import Cursor
    from om_server.pipeline.rated_event import RatedEvent
    from om_server.pipeline.settle import Slices
    from om_server.rating.comparison import Compared
    from om_server.rating.past import Range, RerateRequest, SimulationRequest
    from om_server.rating.proposal import EventRates, Proposals
    from om_server.storage.database import Database
    from om_server.wallet.revision import Revised as Moved

#: Events in one transaction that revises, and in one page that only reads.
_BATCH = 100
_PAGE = 500

#: Marks an event whose cost and charge are not those that it was settled with.
RERATED = "rerated"

_Changed = tuple["SettledEvent", "RatedEvent"]


class PastEventRater:
    """Past events of any organization, one request at a time."""

    def __init__(
        self, database: Database, slices: Slices, *, proposals: Proposals, ids: IdSource, clock: Clock
    ) -> None:
        self._database = database
        self._slices = slices
        self._proposals = proposals
        self._rerates = RerateStore(database)
        self._ids = ids
        self._clock = clock
        self._trail = AuditTrail(database, ids=ids, clock=clock, actor=acting)

    def preview(self, organization_id: str, request: RerateRequest) -> Compared:
        """Say what `rerate` would find, and write nothing."""
        comparison = PastComparison(
            self._slices,
            organization_id,
            _filter(request.range, provider=request.provider, model=request.model),
            rates=self._proposals.stored(organization_id, request.burn_table_id),
            keep=request.difference_count,
        )
        while (compared := comparison.step()) is not None:
            last = compared
        return last

    def simulate(self, organization_id: str, request: SimulationRequest) -> PastComparison:
        """Begin to compare what was charged with what a proposed table would have charged."""
        return PastComparison(
            self._slices,
            organization_id,
            _filter(request.range, customer_id=request.draft.customer_id),
            rates=self._proposals.drafted(request.draft),
            keep=request.difference_count,
        )

    def rerate(
        self, organization_id: str, request: RerateRequest, *, actor: str, in_time: Callable[[], bool]
    ) -> Compared:
        """Give the events of a range the charge that they have now, and move the differences.

        Each step is a transaction with its own place: a repeat under the key goes on behind the last
        one, and two at once share the steps. UNAVAILABLE where the time is over before the end.
        """
        rates = self._proposals.stored(organization_id, request.burn_table_id)
        asker = Asker(self._ids.new("rrt"), actor, self._clock())

        def step() -> Rerate:
            rerate = self._rerates.lock(organization_id, request, asker)
            if rerate.finished:
                return rerate
            if rerate.rerate_id == asker.rerate_id and rerate.place is None:
                # Its first step. What each event was before and is now stands in the event's revisions.
                self._trail.record(organization_id, _entry(rerate.rerate_id, request))
            return self._step(organization_id, request, rerate, rates=rates)

        while in_time():
            rerate = self._database.write(step)
            if rerate.finished:
                return rerate.report
        raise DependencyUnavailable("the time for this call is over; repeat it to go on where it ended")

    def _step(
        self, organization_id: str, request: RerateRequest, rerate: Rerate, *, rates: EventRates
    ) -> Rerate:
        wanted = _filter(request.range, provider=request.provider, model=request.model)
        page, following = self._slices.analytics.page_rated(
            organization_id, wanted, after=rerate.place, limit=_BATCH
        )
        comparison = Comparison(request.difference_count, since=rerate.report)
        changed = _compare(page, rates, comparison)
        if changed:
            moved = self._revise(organization_id, changed, rerate_id=rerate.rerate_id)
            comparison.add_moved(sum(one.moved for one in moved))
        after = replace(
            rerate,
            place=following or rerate.place,
            finished=following is None,
            report=comparison.compared(),
        )
        self._rerates.save(organization_id, request, after, now=self._clock())
        return after

    def _revise(
        self, organization_id: str, changed: Sequence[_Changed], *, rerate_id: str
    ) -> Sequence[Moved]:
        """Move the differences and write the new ratings, in the caller's transaction."""
        identities = {(item.event.source, item.event.event_id) for _, item in changed}
        numbers = self._slices.analytics.revision_numbers(organization_id, identities)
        revisions = [
            _revision(before, item, numbers.get((item.event.source, item.event.event_id), 0) + 1)
            for before, item in changed
        ]
        moved = self._slices.wallet.revise_charges(organization_id, revisions)
        after = [_revised(before, item, one) for (before, item), one in zip(changed, moved, strict=True)]
        self._slices.analytics.revise([before for before, _ in changed], after)
        self._slices.analytics.note_revisions(
            [
                Revised(before, new, revision.number, one.moved)
                for (before, _), new, revision, one in zip(changed, after, revisions, moved, strict=True)
            ],
            rerate_id=rerate_id,
        )
        return moved


class PastComparison:
    """A comparison a page at a time, which writes and locks nothing."""

    def __init__(
        self, slices: Slices, organization_id: str, wanted: EventFilter, *, rates: EventRates, keep: int
    ) -> None:
        self._analytics = slices.analytics
        self._organization_id = organization_id
        self._wanted = wanted
        self._rates = rates
        self._comparison = Comparison(keep)
        self._place: Cursor | None = None
        self._finished = False

    def step(self) -> Compared | None:
        """Compare one more page; None after the last."""
        if self._finished:
            return None
        page, self._place = self._analytics.page_rated(
            self._organization_id, self._wanted, after=self._place, limit=_PAGE
        )
        _compare(page, self._rates, self._comparison)
        self._finished = self._place is None
        return self._comparison.compared()


def _entry(rerate_id: str, request: RerateRequest) -> AuditEntry:
    after = {
        "start_time": moment(request.range.start_time),
        "end_time": moment(request.range.end_time),
        "provider": request.provider,
        "model": request.model,
        "burn_table_id": request.burn_table_id,
    }
    return AuditEntry("RerateEvents", "rerate", rerate_id, after=after)


def _compare(page: Iterable[SettledEvent], rates: EventRates, comparison: Comparison) -> list[_Changed]:
    """Rate events again and add them to the comparison; return those whose rating would be another."""
    changed = []
    for before in page:
        if not rates.decides(before.event):
            continue
        # It is charged already: its owner's policy about what nobody saw decided then.
        item = rate_event(before.event, rates, suspends=False)
        rating = item.rating
        if item.state is not SettledState.RATED or rating is None or rating.cost is None:
            comparison.add_unrated()
            continue
        cost, charge = before.cost or 0, before.charge or 0
        event = before.event
        comparison.add(
            Difference(event.source, event.event_id, charge, item.payable), cost=rating.cost.nanos - cost
        )
        shares = [(line.cost, line.charge) for line in before.lines]
        # Where nothing is another amount, nothing is written: not even the name of a newer version.
        if (cost, charge, shares) != (rating.cost.nanos, item.payable, _shares(item)):
            changed.append((before, item))
    return changed


def _shares(item: RatedEvent) -> list[tuple[int | None, int | None]]:
    lines = item.rating.lines if item.rating is not None else ()
    return [
        (line.cost.nanos if line.cost else None, line.charge.nanos if line.charge else None) for line in lines
    ]


def _revision(before: SettledEvent, item: RatedEvent, number: int) -> Revision:
    event = item.event
    return Revision(
        source=event.source,
        event_id=event.event_id,
        number=number,
        charge=item.payable,
        wallet_id=before.wallet_id,
        description=event.attribution.feature_id,
    )


def _revised(before: SettledEvent, item: RatedEvent, moved: Moved) -> SettledEvent:
    """Return an event with another rating: who pays and when it settled stay as they were."""
    receivable = max(0, before.receivable + moved.receivable)
    result = ChargeResult(receivable=receivable, wallet_id=before.wallet_id, flags=(RERATED,))
    return settled_event(item, result, before.settle_time)


def _filter(span: Range, *, provider: str = "", model: str = "", customer_id: str = "") -> EventFilter:
    return EventFilter(
        start_time=span.start_time,
        end_time=span.end_time,
        providers=(canonical_provider(provider),) if provider else (),
        models=(model,) if model else (),
        customer_ids=(customer_id,) if customer_id else (),
    )
