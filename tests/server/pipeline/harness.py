"""The server's slices over one database, at a time that the test sets, as the composition root joins them."""

import dataclasses
import itertools
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import peewee

from om_server.account.keys.key import KeyWish
from om_server.account.operations import AccountOperations
from om_server.account.store import AccountStore
from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.settled import SettledEvent
from om_server.analytics.store import AnalyticsStore
from om_server.analytics.window_sum import WindowSums
from om_server.core.clock import Clock, system_clock
from om_server.core.event import SOURCE_API, Attribution, Event, EventType, UsageLine
from om_server.core.ids import IdSource
from om_server.core.usage import Usage
from om_server.ingestion import envelope
from om_server.ingestion.operations import IngestionOperations
from om_server.ingestion.store import IngestionStore
from om_server.pipeline.admission import Admission, AdmissionRequest, Decision
from om_server.pipeline.change_feed import ChangeFeed, FeedLimits
from om_server.pipeline.job_deadlines import JobDeadlines
from om_server.pipeline.letter_replay import LetterReplay
from om_server.pipeline.limit_check import LimitCheck
from om_server.pipeline.poller import Poller
from om_server.pipeline.settle import Settler, Slices
from om_server.pipeline.window_usage import RollupUsage
from om_server.pipeline.worker import Worker, WorkerLimits
from om_server.prompt.operations import PromptOperations
from om_server.prompt.store import PromptStore
from om_server.rating.operations import RatingOperations
from om_server.rpc.caller import actor
from om_server.storage.audit import AuditTrail
from om_server.storage.change_log import ChangeLog
from om_server.storage.database import Database
from om_server.storage.inbox import SqlInbox
from om_server.storage.queue import Batch, Queue
from om_server.wallet.funding import Deposit
from om_server.wallet.leases.closing import Past
from om_server.wallet.leases.lease import EdgeIdentity
from om_server.wallet.limits.operations import LimitOperations
from om_server.wallet.limits.store import LimitStore
from om_server.wallet.operations import WalletOperations
from om_server.wallet.store import WalletStore
from om_server.wallet.wallet import Owner, OwnerKind, Wallet

START = 1_790_000_000_000_000
SECOND = 1_000_000
CREDIT = 10**9

#: gpt-4o: 2.50 dollars a million tokens in, 10 out, and 1,000 credits a dollar.
INPUT_COST = 2_500
INPUT_CHARGE = INPUT_COST * 1_000
OUTPUT_CHARGE = 10_000 * 1_000

EDGE = EdgeIdentity("edg_" + "0" * 26, 1, "process-one")

Rows = dict[str, list[str]]


@dataclass
class SetClock:
    """A clock that stands still until it is moved."""

    now: int = START

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: int) -> None:
        self.now += seconds * SECOND


def tokens(count: int, *, model: str = "gpt-4o", provider: str = "openai") -> UsageLine:
    """A line of input tokens, at INPUT_CHARGE each where the model is left as it is."""
    return UsageLine(provider, model, Usage.measured(input_tokens=count))


def rows_of(database: Database) -> Rows:
    """Every row of every table, as text."""

    def read() -> Rows:
        tables = database.engine.get_tables()
        return {table: sorted(map(repr, _rows(database.engine, table))) for table in tables}

    return database.read(read)


def _rows(engine: peewee.Database, table: str) -> list[tuple[object, ...]]:
    return list(engine.execute_sql(f"SELECT * FROM {table}").fetchall())  # noqa: S608 - our own tables


@dataclass(frozen=True)
class Tenant:
    """An organization with a team and a key."""

    organization_id: str
    team_id: str
    key_id: str


@dataclass
class World:
    """Everything that admission and settlement touch."""

    database: Database
    rating: RatingOperations
    clock: SetClock = field(default_factory=SetClock)
    make_queue: Callable[[Database, Clock], Queue] = SqlInbox
    random_bytes: Callable[[int], bytes] = secrets.token_bytes

    def __post_init__(self) -> None:
        self.ids = IdSource(lambda: self.clock.now // 1000, self.random_bytes)
        self.inbox = self.make_queue(self.database, self.clock)
        self.ingestion_store = IngestionStore(self.database)
        self.wallet_store = WalletStore(self.database)
        self.wallet = WalletOperations(self.database, self.wallet_store, ids=self.ids, clock=self.clock)
        self.account = AccountOperations(
            self.database,
            AccountStore(self.database),
            ids=self.ids,
            clock=self.clock,
            random_bytes=self.random_bytes,
            payers_changed=self.wallet.forget_payers,
        )
        self.analytics = AnalyticsOperations(
            self.database, AnalyticsStore(self.database), names=self.account.names, clock=self.clock
        )
        self.ingestion = IngestionOperations(
            self.database, self.ingestion_store, self.inbox, ids=self.ids, clock=self.clock
        )
        self.limits = LimitOperations(
            self.database,
            LimitStore(self.database),
            RollupUsage(WindowSums(self.database)),
            ids=self.ids,
            clock=self.clock,
            notice=60 * SECOND,
        )
        self.admission = Admission(
            self.database,
            account=self.account,
            wallet=self.wallet,
            rating=self.rating,
            limits=LimitCheck(self.limits, self.rating, clock=self.clock),
            clock=self.clock,
        )
        self.prompts = PromptOperations(
            self.database,
            PromptStore(self.database),
            audit=AuditTrail(self.database, ids=self.ids, clock=self.clock, actor=actor),
            clock=self.clock,
        )
        self.slices = Slices(
            ingestion=self.ingestion_store,
            rating=self.rating,
            wallet=self.wallet,
            analytics=self.analytics,
            account=self.account,
            prompt=self.prompts,
        )
        self.settler = Settler(self.database, self.slices, self.clock)
        self.trail = AuditTrail(self.database, ids=self.ids, clock=self.clock, actor=actor)
        self.replay = LetterReplay(
            self.database,
            self.ingestion_store,
            self.settler,
            wallet=self.wallet,
            limits=self.limits,
            trail=self.trail,
        )
        self.job_deadlines = JobDeadlines(self.database, self.slices, self.clock)
        self.changes = ChangeLog(self.database)
        # The database stamps changes with its own time.
        feed = ChangeFeed(self.changes, clock=system_clock, limits=FeedLimits())
        self.poller = Poller(feed, FeedLimits())
        self.database.on_write(self.poller.wake)
        self._numbers = itertools.count(1)

    def worker(
        self,
        settler: Settler | None = None,
        *,
        event_count_max: int = 500,
        poll_interval_s: float = 0.01,
        chores: Sequence[Callable[[], object]] = (),
    ) -> Worker:
        return Worker(
            self.database,
            self.inbox,
            settler or self.settler,
            store=self.ingestion_store,
            ids=self.ids,
            clock=self.clock,
            limits=WorkerLimits(event_count_max, poll_interval_s),
            chores=chores,
        )

    def tenant(self, name: str = "Haberdashery", *, granted: int = 0) -> Tenant:
        """Make an organization; with credits granted it has a wallet."""
        organization_id = self.account.create_organization(name).organization_id
        team = self.account.ensure_team(organization_id, "Default")
        key = self.account.create_key(organization_id, KeyWish(team.team_id)).key
        if granted:
            self.grant(organization_id, granted)
        return Tenant(organization_id, team.team_id, key.key_id)

    def grant(
        self,
        organization_id: str,
        amount: int,
        *,
        kind: OwnerKind = OwnerKind.ORGANIZATION,
        owner_id: str = "",
    ) -> Wallet:
        owner = Owner.of(organization_id, kind, owner_id=owner_id)
        self.wallet.grant_credits(organization_id, Deposit(owner, amount, f"grant-{next(self._numbers)}"))
        return self.wallet.get_wallet(organization_id, owner=owner)

    def event(self, tenant: Tenant, event_id: str = "e1", **changes: object) -> Event:
        """An event of 1,000 input tokens that an application reports, with its payload's hash."""
        event = Event(
            organization_id=tenant.organization_id,
            source=SOURCE_API,
            event_id=event_id,
            event_type=EventType.TOKEN_USAGE,
            event_time=self.clock.now,
            receive_time=self.clock.now,
            attribution=Attribution(team_id=tenant.team_id),
            lines=(tokens(1_000),),
            key_id=tenant.key_id,
        )
        event = dataclasses.replace(event, **changes)  # type: ignore[arg-type] # A table's row.
        return dataclasses.replace(event, payload_hash=envelope.payload_hash(event, time_supplied=True))

    def settled(self, event: Event) -> SettledEvent:
        """What became of an event."""
        found = self.analytics.find_event(event.organization_id, source=event.source, event_id=event.event_id)
        assert found is not None
        return found

    def money(self, tenant: Tenant) -> tuple[int, int, int]:
        """What the organization's wallet has available, held and owed."""
        wallet = self.wallet.get_wallet(tenant.organization_id)
        return wallet.available, wallet.held, wallet.receivable

    def queue(self, *batches: Sequence[Event]) -> None:
        """Put batches in the queue, each of one organization, without intake."""
        for events in batches:
            self.inbox.append([self.batch(envelope.pack(events), events[0].organization_id, len(events))])

    def batch(self, text: str, organization_id: str, event_count: int = 1) -> Batch:
        return Batch(organization_id, self.ids.new("bat"), text, event_count)

    def resync(self, edge: EdgeIdentity = EDGE) -> None:
        self.wallet.resync(edge, Past("boot"))

    def admit(self, tenant: Tenant, **changes: object) -> Decision:
        """Ask for a lease of one credit for one call."""
        return self.admission.admit(self.request(tenant, **changes))

    def request(self, tenant: Tenant, **changes: object) -> AdmissionRequest:
        request = AdmissionRequest(
            edge=EDGE,
            admit_key="evt_1",
            key_id=tenant.key_id,
            attribution=Attribution(),
            provider="openai",
            model="gpt-4o",
            bound={"input_tokens": 400},
            bound_nanos=CREDIT,
            min_nanos=CREDIT,
            want_nanos=CREDIT,
            max_intents=1,
            priced=True,
        )
        return dataclasses.replace(request, **changes)  # type: ignore[arg-type] # A table's row.
