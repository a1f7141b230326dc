"""Holds of callers: made once for each key, and resolved once."""

from om_server.core.audit import AuditEntry
from om_server.core.clock import Clock
from om_server.core.errors import NotFound
from om_server.core.ids import IdSource
from om_server.storage.audit import AuditTrail
from om_server.storage.database import Database
from om_server.wallet.answer import Once, Receipt
from om_server.wallet.entry import Cause
from om_server.wallet.facts import hold_facts, noted
from om_server.wallet.holds.hold import Hold, HoldConflict, HoldRequest, HoldState
from om_server.wallet.ledger import WalletBook
from om_server.wallet.store import WalletStore


class Holding:
    """Makes, charges and frees holds. Each call locks the hold's wallet, which ends those that lapsed."""

    def __init__(
        self, database: Database, store: WalletStore, *, ids: IdSource, clock: Clock, trail: AuditTrail
    ) -> None:
        self._database = database
        self._store = store
        self._ids = ids
        self._clock = clock
        self._trail = trail
        self._once = Once(database, store.answers, clock=clock, done=noted(trail))

    def create(self, organization_id: str, request: HoldRequest) -> Receipt:
        """Set money aside, all or nothing."""

        def effect(now: int) -> Receipt:
            expire_time = request.ends(now)
            book = self._book(organization_id, request.wallet_id, now=now)
            hold_id = self._ids.new("hld")
            hold = Hold(
                hold_id=hold_id,
                wallet_id=request.wallet_id,
                amount=request.amount,
                expire_time=expire_time,
                create_time=now,
                slices=book.reserve(request.amount, cause=Cause(hold_id=hold_id)),
            )
            self._store.save(organization_id, [book])
            self._store.holds.insert(organization_id, hold)
            return Receipt(book.wallet, (), hold=hold)

        return self._once.run(organization_id, request, operation="CreateHold", effect=effect)

    def capture(self, organization_id: str, hold_id: str, amount: int | None) -> Hold:
        """Charge a hold, None for all of it, and free the rest; a repeat changes nothing.

        After its expiry the money is free, so the amount becomes receivable, which is paid at once from
        what is available but never from credit.
        """

        def run() -> Hold:
            book, hold = self._locked(organization_id, hold_id)
            wanted = hold.amount if amount is None else amount
            if not hold.captures_anew(wanted):
                return hold
            cause, slices = Cause(hold_id=hold_id), hold.slices
            if hold.state is HoldState.EXPIRED:
                book.owe(wanted, cause=cause)
            else:
                slices = book.capture(slices, wanted, cause=cause)
                slices = book.release(slices, hold.amount - wanted, cause=cause)
            after = hold.resolved(HoldState.CAPTURED, slices, captured=wanted)
            self._note("CaptureHold", organization_id, hold, after=after)
            return self._save(organization_id, book, hold=after)

        return self._database.write(run)

    def release(self, organization_id: str, hold_id: str) -> Hold:
        """Free a hold; nothing is left to do if its time was over before."""

        def run() -> Hold:
            book, hold = self._locked(organization_id, hold_id)
            if not hold.releases_anew():
                self._store.save(organization_id, [book])
                return hold
            slices = book.release(hold.slices, hold.held, cause=Cause(hold_id=hold_id))
            after = hold.resolved(HoldState.RELEASED, slices)
            self._note("ReleaseHold", organization_id, hold, after=after)
            return self._save(organization_id, book, hold=after)

        return self._database.write(run)

    def _note(self, action: str, organization_id: str, before: Hold, *, after: Hold) -> None:
        entry = AuditEntry(action, "hold", after.hold_id, before=hold_facts(before), after=hold_facts(after))
        self._trail.record(organization_id, entry)

    def _save(self, organization_id: str, book: WalletBook, *, hold: Hold) -> Hold:
        self._store.save(organization_id, [book])
        self._store.holds.save(organization_id, [hold])
        return hold

    def _locked(self, organization_id: str, hold_id: str) -> tuple[WalletBook, Hold]:
        """Lock a hold's wallet and return the hold as the clock leaves it."""
        stored = self._store.holds.get(organization_id, hold_id)
        if stored is None:
            if self._store.leases.wallets(organization_id, [hold_id]):
                raise HoldConflict(hold_id, state="an edge's lease")
            if self._store.escrows.get(organization_id, hold_id) is not None:
                raise HoldConflict(hold_id, state="an event's")
            raise NotFound("hold", hold_id)
        book = self._book(organization_id, stored.wallet_id, now=self._clock())
        lapsed = next((hold for hold in book.lapsed if hold.hold_id == hold_id), None)
        # Behind the lock, so that what a twin did with it is seen.
        current = lapsed or self._store.holds.get(organization_id, hold_id)
        return book, current or stored

    def _book(self, organization_id: str, wallet_id: str, *, now: int) -> WalletBook:
        books = self._store.lock(organization_id, [wallet_id], now=now, new_id=self._ids.new)
        if wallet_id not in books:
            raise NotFound("wallet", wallet_id)
        return books[wallet_id]
