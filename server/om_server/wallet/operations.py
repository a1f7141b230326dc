"""What callers may do with wallets. Every operation is one transaction, or part of an open one."""

from collections.abc import Iterator, Sequence

from om_server.core.audit import AuditEntry
from om_server.core.clock import Clock
from om_server.core.errors import InvalidArgument
from om_server.core.event import Attribution
from om_server.core.ids import IdSource
from om_server.core.money import Money
from om_server.core.page import PageRequest
from om_server.rpc.caller import actor
from om_server.storage.audit import AuditTrail
from om_server.storage.database import Database
from om_server.wallet.answer import Receipt
from om_server.wallet.audit import LedgerAudit, LedgerReport, Verified
from om_server.wallet.change import WalletChange
from om_server.wallet.charging import Charge, ChargeResult
from om_server.wallet.entry import GRANT, PURCHASE, Entry
from om_server.wallet.facts import wallet_facts
from om_server.wallet.funding import Adjustment, Deduction, Deposit, Funds, Refund, Transfer, credits_of
from om_server.wallet.holds.hold import Hold, HoldRequest
from om_server.wallet.holds.holding import Holding
from om_server.wallet.holds.suspense import Decision, Suspending
from om_server.wallet.leases.closing import Closed, LeaseClosing, Past, Resynced
from om_server.wallet.leases.lease import EdgeIdentity, Lease, LeaseReport, LeaseRequest
from om_server.wallet.leases.leasing import Leasing, Opened
from om_server.wallet.limits.gate import LimitGate, Unlimited
from om_server.wallet.listing import EntryPage, LeasePage, Listing, SuspensePage, WalletPage
from om_server.wallet.revising import Revising
from om_server.wallet.revision import Revised, Revision
from om_server.wallet.settling import Settling
from om_server.wallet.store import WalletStore
from om_server.wallet.transaction import Statements, TransactionPage
from om_server.wallet.wallet import Owner, OwnerKind, Wallet, payers

__all__ = ["WalletChange", "WalletOperations"]


class WalletOperations:
    """Wallets of any organization; every call but those about edges names it."""

    def __init__(self, database: Database, store: WalletStore, *, ids: IdSource, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._ids = ids
        self._clock = clock
        self._trail = AuditTrail(database, ids=ids, clock=clock, actor=actor)
        self._funds = Funds(database, store, ids=ids, clock=clock, trail=self._trail)
        self._leasing = Leasing(database, store, ids=ids, clock=clock)
        self._closing = LeaseClosing(database, store, ids=ids, clock=clock)
        self._settling = Settling(database, store, ids=ids, clock=clock)
        self._revising = Revising(database, store, ids=ids, clock=clock)
        self._suspending = Suspending(database, store, ids=ids, clock=clock, trail=self._trail)
        self._holding = Holding(database, store, ids=ids, clock=clock, trail=self._trail)
        self._listing = Listing(database, store, clock=clock)
        self._statements = Statements(database, store)
        self._audit = LedgerAudit(database)

    def get_wallet(self, organization_id: str, *, owner: Owner | None = None, wallet_id: str = "") -> Wallet:
        """Return a wallet by id, or by owner, by default the organization itself.

        An owner without a wallet gets an empty one that does not exist; an unknown id is NOT_FOUND.
        """
        owner = owner or Owner.of(organization_id, OwnerKind.ORGANIZATION)

        def run() -> Wallet:
            if wallet_id:
                wallet = self._store.require(organization_id, wallet_id)
            else:
                wallet = self._store.of_owners(organization_id, [owner]).get(owner, Wallet("", owner))
            return self._store.as_of(organization_id, [wallet], now=self._clock())[0]

        return self._database.read(run)

    def last_entry(self, organization_id: str, wallet_id: str) -> Entry | None:
        """Return the newest movement that was not only set aside or freed."""
        return self._database.read(lambda: self._store.journal.last_outward(organization_id, wallet_id))

    def list_wallets(
        self,
        organization_id: str,
        *,
        kind: OwnerKind | None = None,
        owner_ids: Sequence[str] = (),
        page: PageRequest,
    ) -> WalletPage:
        """List wallets, oldest first; of some owners where they are named."""
        return self._listing.wallets(organization_id, kind=kind, owner_ids=owner_ids, page=page)

    def list_entries(self, organization_id: str, wallet_id: str, *, page: PageRequest) -> EntryPage:
        """List the movements of a wallet, newest first."""
        return self._listing.entries(organization_id, wallet_id, page=page)

    def list_transactions(
        self, organization_id: str, *, owner: Owner, wallet_id: str = "", page: PageRequest
    ) -> TransactionPage:
        """List what changed the balance of a wallet, newest first; of an owner without one, nothing."""
        return self._statements.page(organization_id, owner=owner, wallet_id=wallet_id, page=page)

    def list_leases(self, organization_id: str, wallet_id: str, *, page: PageRequest) -> LeasePage:
        """List the leases that edges took from a wallet, newest first."""
        return self._listing.leases(organization_id, wallet_id, page=page)

    def lease_totals(self) -> tuple[int, float]:
        """Return how many leases have not ended, and what they hold, of all organizations, not exactly."""
        return self._database.read(self._store.leases.totals)

    def update_wallet(self, organization_id: str, owner: Owner, *, change: WalletChange) -> Wallet:
        """Change the settings of an owner's wallet, which is created if it is missing."""

        def run() -> Wallet:
            now = self._clock()
            # First of all locks, as where a wallet is created: two changes never close a ring of overflow.
            self._store.lock_resolution(organization_id)
            known = owner in self._store.of_owners(organization_id, [owner])
            book = self._store.ensure(organization_id, owner, now=now, new_id=self._ids.new)
            changed = change.applied(book.wallet)
            if changed.credit_limit < book.overdraft:
                raise InvalidArgument("credit_limit", "below what is overdrawn")
            if change.overflow_wallet_id:
                self._store.overflow.require(
                    organization_id, changed.wallet_id, target_id=change.overflow_wallet_id
                )
            self._store.save(organization_id, [book])
            if changed != book.wallet:
                self._store.configure(organization_id, changed)
                self._store.bump_resolution(organization_id)
            entry = AuditEntry(
                "UpdateWallet",
                "wallet",
                changed.wallet_id,
                before=wallet_facts(book.wallet) if known else None,
                after=wallet_facts(changed),
            )
            self._trail.record(organization_id, entry)
            return self._store.as_of(organization_id, [changed], now=now)[0]

        return self._database.write(run)

    def grant_credits(self, organization_id: str, request: Deposit) -> Receipt:
        """Give credits without payment."""
        return self._funds.deposit(organization_id, request, movement=GRANT, operation="GrantCredits")

    def seed_grant(self, organization_id: str, amount: Money) -> Receipt:
        """Give an organization its first credits; again changes nothing."""
        owner = Owner.of(organization_id, OwnerKind.ORGANIZATION)
        return self.grant_credits(organization_id, Deposit(owner, credits_of(amount), "seed"))

    def purchase_credits(self, organization_id: str, request: Deposit) -> Receipt:
        """Add credits that were paid for elsewhere."""
        return self._funds.deposit(organization_id, request, movement=PURCHASE, operation="PurchaseCredits")

    def deduct_credits(self, organization_id: str, request: Deduction) -> Receipt:
        """Take credits for something that was not metered, all or nothing."""
        return self._funds.deduct(organization_id, request)

    def refund_charge(self, organization_id: str, request: Refund) -> Receipt:
        """Give back what an event cost, whole or in part, to the grants that paid."""
        return self._funds.refund(organization_id, request)

    def transfer_credits(self, organization_id: str, request: Transfer) -> Receipt:
        """Move credits between two wallets, all or nothing."""
        return self._funds.transfer(organization_id, request)

    def adjust_wallet(self, organization_id: str, request: Adjustment) -> Receipt:
        """Correct a wallet by hand, up or down."""
        return self._funds.adjust(organization_id, request)

    def create_hold(self, organization_id: str, request: HoldRequest) -> Receipt:
        """Set money aside for a caller, all or nothing."""
        return self._holding.create(organization_id, request)

    def capture_hold(self, organization_id: str, hold_id: str, *, amount: int | None = None) -> Hold:
        """Charge a hold, by default all of it, and free the rest."""
        return self._holding.capture(organization_id, hold_id, amount)

    def release_hold(self, organization_id: str, hold_id: str) -> Hold:
        """Free a hold."""
        return self._holding.release(organization_id, hold_id)

    def verify(self, organization_id: str, *, wallet_id: str = "") -> LedgerReport:
        """Replay the ledgers of an organization, or one of them, up to the first thing that is wrong."""
        return self._audit.verify(organization_id, wallet_id=wallet_id)

    def verify_all(self) -> Iterator[Verified]:
        """Replay the ledgers of every organization, and yield each with what is wrong in it."""
        return self._audit.verify_all()

    def resolve(
        self, organization_id: str, *, user_id: str, customer_id: str, team_id: str
    ) -> tuple[Wallet | None, int]:
        """Return the wallet that pays for these, as it is stored, None if nobody does; and the version.

        A decision that is kept under the version ends with the next wallet.
        """
        owners = payers(organization_id, user_id=user_id, customer_id=customer_id, team_id=team_id)

        version, found = self._database.read(lambda: self._store.resolution(organization_id, owners))
        return next((found[owner] for owner in owners if owner in found), None), version

    def resolve_many(self, organization_id: str, attributions: Sequence[Attribution]) -> list[str]:
        """Return, for each attribution, the id of the wallet that pays; empty if nobody does."""
        asked = [(who.user_id, who.customer_id, who.team_id) for who in attributions]
        # Many events of a batch are of the same few, and each choice makes and hashes up to four values.
        choices = {
            one: payers(organization_id, user_id=one[0], customer_id=one[1], team_id=one[2])
            for one in dict.fromkeys(asked)
        }
        owners = {owner for choice in choices.values() for owner in choice}
        found = self._database.read(lambda: self._store.of_owners(organization_id, owners))
        paying = {
            one: next((found[owner].wallet_id for owner in choice if owner in found), "")
            for one, choice in choices.items()
        }
        return [paying[one] for one in asked]

    def forget_payers(self, organization_id: str) -> None:
        """End every cached decision who pays, within the caller's transaction: the rule for it changed."""
        self._database.write(lambda: self._store.bump_resolution(organization_id))

    def resolution_version(self, organization_id: str) -> int:
        """Return the version of the decision who pays. Read it before the decision that is kept under it."""
        return self._database.read(lambda: self._store.resolution_version(organization_id))

    def open_lease(
        self, organization_id: str, request: LeaseRequest, *, gate: LimitGate | None = None
    ) -> Lease | None:
        """Take a lease as `fund` does, and return it alone."""
        return self.fund(organization_id, request, gate=gate).lease

    def fund(self, organization_id: str, request: LeaseRequest, *, gate: LimitGate | None = None) -> Opened:
        """Take a lease for an edge within limits, once for each admit key; none where `want_nanos` is 0.

        Refusals are raised before anything is written: INSUFFICIENT_FUNDS, WALLET_BLOCKED, LIMIT_REACHED.
        """
        return self._leasing.open(organization_id, request, gate=gate or Unlimited())

    def settle_charges(self, organization_id: str, charges: Sequence[Charge]) -> list[ChargeResult]:
        """Move the money of events that nobody settled before; return who paid, in their order.

        An event that something was set aside for before, unrated or as a dead letter, settles from that.
        """
        return self._settling.settle(organization_id, charges)

    def revise_charges(self, organization_id: str, revisions: Sequence[Revision]) -> list[Revised]:
        """Move the differences of events that were rated again; the caller has locked the events."""
        return self._revising.revise(organization_id, revisions)

    def resync(self, edge: EdgeIdentity, past: Past) -> Resynced:
        """Register an edge's epoch, and end its leases of lower epochs as far as its journal tells how."""
        return self._closing.resync(edge, past)

    def close_lease(self, edge: EdgeIdentity, report: LeaseReport) -> Closed:
        """Declare how many events a lease pays for and what they keep; return what that freed at once."""
        return self._closing.close(edge, report)

    def recall_leases(self, organization_id: str, wallet_id: str) -> int:
        """Ask edges for their idle leases on a wallet that was short; return how many."""
        return self._leasing.recall(organization_id, wallet_id)

    def recalled_leases(self, edge_id: str, *, since: int) -> list[Lease]:
        """Return the open leases of an edge that were asked for since a time, the oldest request first."""
        return self._leasing.recalled(edge_id, since=since)

    def resolve_lease(self, organization_id: str, lease_id: str, *, decision: Decision) -> Lease:
        """Move what a lost lease still has to suspense. HOLD_STATE while its edge may speak."""
        return self._suspending.resolve_lease(organization_id, lease_id, decision=decision)

    def list_suspense(self, organization_id: str, *, page: PageRequest) -> SuspensePage:
        """List what an owner has to decide about, oldest first."""
        return self._listing.suspense(organization_id, page=page)

    def release_suspense(
        self, organization_id: str, suspense_id: str, *, charge: int, decision: Decision
    ) -> Wallet:
        """Charge a part of what is in suspense, and return the rest to its wallet."""
        return self._suspending.release(organization_id, suspense_id, charge=charge, decision=decision)

    def suspend_event(self, organization_id: str, event: tuple[str, str]) -> int:
        """Move what is held for an event (source, id) to suspense; return how much. Again moves nothing."""
        return self._suspending.suspend_event(organization_id, event)

    def discard_event(self, organization_id: str, event: tuple[str, str], *, decision: Decision) -> int:
        """Free what is held for an event (source, id) that nobody will settle; return how much."""
        return self._suspending.discard(organization_id, event, decision=decision)

    def require_current(self, edge: EdgeIdentity) -> None:
        """Refuse a process of an edge that may not take leases; inside a transaction until its end."""
        self._leasing.require_current(edge)
