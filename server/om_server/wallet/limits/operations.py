"""What callers may do with limits, and what admission asks of them. Every operation is one transaction.

What is used is asked of a reader that the composition root passes in: the sums are another slice's.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from om_server.core.audit import AuditEntry
from om_server.core.clock import Clock
from om_server.core.errors import InvalidArgument, NotFound, PageTokenInvalid
from om_server.core.hours import HourRange
from om_server.core.ids import IdSource
from om_server.core.page import PageRequest, decode_token, encode_token
from om_server.rpc.caller import actor
from om_server.storage.audit import AuditTrail
from om_server.storage.database import Database
from om_server.wallet.limits.facts import limit_facts
from om_server.wallet.limits.gate import DemandGate, standings
from om_server.wallet.limits.limit import (
    Demand,
    Limit,
    Selector,
    Standing,
    Subject,
    Terms,
    new_limit,
)
from om_server.wallet.limits.store import LimitStore

_ARGUMENTS = {"list": "entitlements"}


class WindowUsage(Protocol):
    """Sums what a selector matched in a unit over whole hours, the sandbox left out."""

    def __call__(self, organization_id: str, selector: Selector, *, unit: str, span: HourRange) -> int: ...


@dataclass(frozen=True, slots=True)
class LimitWish:
    """A limit as a caller wants it."""

    selector: Selector
    unit: str
    terms: Terms
    metadata: str = "{}"


@dataclass(frozen=True, slots=True)
class LimitPage:
    """Limits with what is used of them, oldest first. An empty token is the end."""

    limits: tuple[tuple[Limit, int], ...]
    next_page_token: str


class LimitOperations:
    """Limits of any organization."""

    def __init__(  # noqa: PLR0913 - what the composition root joins
        self,
        database: Database,
        store: LimitStore,
        usage: WindowUsage,
        *,
        ids: IdSource,
        clock: Clock,
        notice: int,
    ) -> None:
        """`notice` is how long edges may still know nothing of a limit: a rate card's life."""
        self._database = database
        self._store = store
        self._usage = usage
        self._ids = ids
        self._clock = clock
        self._notice = notice
        self._trail = AuditTrail(database, ids=ids, clock=clock, actor=actor)

    def create(self, organization_id: str, wish: LimitWish, *, idempotency_key: str) -> Limit:
        """Create a limit, once for each key. A hard one holds after the notice."""
        _require_foreign(organization_id, wish.selector)
        limit = new_limit(
            self._ids.new("ent"),
            wish.selector,
            wish.unit,
            terms=wish.terms,
            now=self._clock(),
            notice=self._notice,
            metadata=wish.metadata,
        )
        digest = hashlib.sha256(json.dumps(asdict(wish), sort_keys=True).encode()).hexdigest()

        def run() -> Limit:
            claimed = self._store.claim(organization_id, limit, key=idempotency_key, digest=digest)
            if claimed.limit_id == limit.limit_id:
                entry = AuditEntry(
                    "CreateEntitlement", "entitlement", limit.limit_id, after=limit_facts(limit)
                )
                self._trail.record(organization_id, entry)
            return claimed

        return self._database.write(run)

    def update(self, organization_id: str, limit_id: str, wish: LimitWish) -> Limit:
        """Put a limit under new terms. What it counts stays: anything else is another limit."""

        def run() -> Limit:
            limit = self._store.lock(organization_id, limit_id)
            if limit is None:
                raise NotFound("entitlement", limit_id)
            if wish.selector != limit.selector:
                raise InvalidArgument("entitlement", "what it applies to does not change; create another")
            if wish.unit != limit.unit:
                raise InvalidArgument("entitlement.unit", "the unit does not change; create another")
            revised = limit.revised(wish.terms, now=self._clock(), notice=self._notice)
            revised = dataclasses.replace(revised, metadata=wish.metadata)
            self._store.save(organization_id, revised)
            after = {**limit_facts(revised), "metadata_changed": revised.metadata != limit.metadata}
            before = {**limit_facts(limit), "metadata_changed": False}
            entry = AuditEntry("UpdateEntitlement", "entitlement", limit_id, before=before, after=after)
            self._trail.record(organization_id, entry)
            return revised

        return self._database.write(run)

    def delete(self, organization_id: str, limit_id: str) -> None:
        """Delete a limit at once; NOT_FOUND if there is none."""

        def run() -> None:
            limit = self._store.lock(organization_id, limit_id)
            if limit is None or not self._store.delete(organization_id, limit_id):
                raise NotFound("entitlement", limit_id)
            entry = AuditEntry("DeleteEntitlement", "entitlement", limit_id, before=limit_facts(limit))
            self._trail.record(organization_id, entry)

        self._database.write(run)

    def get(self, organization_id: str, limit_id: str) -> Limit:
        """Return a limit; NOT_FOUND if there is none."""
        found = self._database.read(lambda: self._store.find(organization_id, limit_id))
        if found is None:
            raise NotFound("entitlement", limit_id)
        return found

    def used(self, organization_id: str, limit: Limit) -> int:
        """Return what is used of a limit in the window that runs, of all users together."""
        span = limit.latest.terms.window.span(self._clock())
        return self._usage(organization_id, limit.selector, unit=limit.unit, span=span)

    def list_limits(self, organization_id: str, page: PageRequest) -> LimitPage:
        """List limits, oldest first."""
        cursor = decode_token(page.token, _ARGUMENTS) or ("",)
        if not isinstance(cursor[0], str):
            raise PageTokenInvalid
        after = cursor[0]

        def run() -> LimitPage:
            found = self._store.page(organization_id, after=after, count=page.size + 1)
            shown = found[: page.size]
            token = encode_token((shown[-1].limit_id,), _ARGUMENTS) if len(found) > page.size else ""
            return LimitPage(tuple((limit, self.used(organization_id, limit)) for limit in shown), token)

        return self._database.read(run)

    def hard_scopes(self, organization_id: str, customer_id: str) -> tuple[tuple[str, str], ...]:
        """Return the kinds and ids by which an edge tells what must be admitted one by one.

        Those of terms that do not hold yet as well: an edge learns of them before they do.
        """
        now = self._clock()
        limits = self._database.read(lambda: self._store.of_customer(organization_id, customer_id))
        return tuple(sorted({limit.selector.scope for limit in limits if limit.reserves(now)}))

    def matching(self, organization_id: str, subject: Subject) -> Sequence[Limit]:
        """Return the limits that count a subject's consumption."""
        return self._database.read(lambda: self._store.matching(organization_id, subject))

    def standings(self, organization_id: str, demands: Sequence[Demand]) -> list[Standing]:
        """Return how demands stand, without a lock: never worse than they do."""

        def run() -> list[Standing]:
            now = self._clock()
            # First what is used: a reservation that ends in between is then in neither, never in both.
            used = {demand.counter: self._used(organization_id, demand, now) for demand in demands}
            reserved = self._store.reservations.reserved(organization_id, used)
            return standings(demands, used, reserved, now=now)

        return self._database.read(run)

    def gate(self, organization_id: str, demands: Sequence[Demand]) -> DemandGate:
        """Return what admits a lease only within these limits."""
        return DemandGate(self._store, self._used, organization_id, demands=demands, clock=self._clock)

    def release_events(self, organization_id: str, events: Sequence[tuple[str, str]]) -> None:
        """Give back what waits for events, each a source and an id, in the transaction that rates them."""
        self._database.write(lambda: self._store.reservations.release_events(organization_id, set(events)))

    def _used(self, organization_id: str, demand: Demand, now: int) -> int:
        limit = demand.limit
        terms = limit.terms(now) or limit.latest.terms
        selector = (
            dataclasses.replace(limit.selector, each_user=False, user_id=demand.user_id)
            if demand.user_id
            else limit.selector
        )
        return self._usage(organization_id, selector, unit=limit.unit, span=terms.window.span(now))


def _require_foreign(organization_id: str, selector: Selector) -> None:
    if selector.customer_id == organization_id:
        raise InvalidArgument("entitlement.customer_id", "the organization is not its own customer")
