"""The composition root of the server: the only place that names concrete classes together."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_server.account.administration.operations import Administration, Figures
from om_server.account.administration.servicer import AdminServicer
from om_server.account.authenticator import CallerAuthenticator
from om_server.account.newcomers import Newcomers
from om_server.account.oidc.operations import oidc_entrance
from om_server.account.oidc.servicer import OidcServicer
from om_server.account.operations import AccountOperations
from om_server.account.people.errand import Errands
from om_server.account.people.registry import registry
from om_server.account.people.servicer import People, PeopleServicer
from om_server.account.registration.operations import Registering
from om_server.account.registration.servicer import RegistrationServicer
from om_server.account.standing import Standing
from om_server.account.store import AccountStore
from om_server.analytics.burn_rate import BurnRates
from om_server.analytics.event_export import EventExport
from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.servicer import AnalyticsServicer
from om_server.analytics.store import AnalyticsStore
from om_server.analytics.window_sum import WindowSums
from om_server.core.clock import system_clock
from om_server.core.ids import IdSource
from om_server.feed_wiring import Feeds, compose_feeds
from om_server.ingestion.operations import IngestionOperations
from om_server.ingestion.quota_desk import QuotaDesk
from om_server.ingestion.servicer import IngestionServicer
from om_server.ingestion.store import IngestionStore
from om_server.metrics.settlement import SettlementMetrics
from om_server.people_wiring import PeopleSettings, compose_people, people_settings
from om_server.pipeline.admission import Admission
from om_server.pipeline.charge_history import ChargeHistory
from om_server.pipeline.edge_servicer import EdgeServicer
from om_server.pipeline.entitlement import EntitlementCheck
from om_server.pipeline.entitlement_servicer import EntitlementServicer
from om_server.pipeline.job_deadlines import JobDeadlines
from om_server.pipeline.letter_replay import LetterReplay
from om_server.pipeline.limit_check import LimitCheck
from om_server.pipeline.past_events import PastEventRater
from om_server.pipeline.payer_funds import PayerFunds
from om_server.pipeline.rerating import UnratedRater
from om_server.pipeline.settle import Settler, Slices
from om_server.pipeline.settled_standing import SettledStanding
from om_server.pipeline.settlement_notice import SettlementNotice
from om_server.pipeline.store_figures import StoreReader
from om_server.pipeline.window_usage import RollupUsage
from om_server.pipeline.worker import Worker, WorkerLimits
from om_server.prompt.operations import PromptOperations
from om_server.prompt.servicer import PromptServicer
from om_server.prompt.store import PromptStore
from om_server.rating.burn_table_operations import BurnTableOperations
from om_server.rating.catalogue import load_catalogue
from om_server.rating.explanation import Explanations
from om_server.rating.onset import CARD_LIFE
from om_server.rating.operations import RatingOperations
from om_server.rating.price_operations import PriceOperations
from om_server.rating.proposal import Proposals
from om_server.rating.servicer import RatingServicer
from om_server.rating.store import TariffStore
from om_server.rating.tariff_source import StoredTariffs
from om_server.rpc.caller import actor
from om_server.rpc.tracing import Tracer, Untraced
from om_server.storage.audit import AuditTrail
from om_server.storage.inbox import SqlInbox
from om_server.storage.migrate import read_incarnation
from om_server.wallet.holdings import Holdings
from om_server.wallet.limits.operations import LimitOperations
from om_server.wallet.limits.store import LimitStore
from om_server.wallet.operations import WalletOperations
from om_server.wallet.servicer import WalletServicer
from om_server.wallet.store import WalletStore

if TYPE_CHECKING:
    from om_server.core.clock import Clock
    from om_server.rpc.access import Authenticator
    from om_server.storage.database import Database
    from om_server.storage.queue import Queue


__all__ = [
    "PeopleSettings",
    "Platform",
    "build",
    "id_source",
    "people_settings",
]


@dataclass(frozen=True, slots=True)
class Platform:
    """Everything that a process of the server may run."""

    database: Database
    ids: IdSource
    account: AccountOperations
    wallet: WalletOperations
    analytics: AnalyticsOperations
    burn_tables: BurnTableOperations
    worker: Worker
    feeds: Feeds
    servicers: tuple[object, ...]
    authenticator: Authenticator
    people: People
    #: What calls left behind; to be stopped before the database is closed.
    errands: Errands
    #: What is settled in this process.
    settlement: SettlementMetrics
    tracer: Tracer
    #: What lies in queue and database.
    stores: StoreReader

    def stop(self) -> None:
        """Stop every thread, before the database is closed; may block."""
        self.feeds.stop()
        self.errands.stop()
        self.worker.stop()


def id_source() -> IdSource:
    """Ids from this machine's clock and its secure randomness."""
    return IdSource(lambda: time.time_ns() // 1_000_000, secrets.token_bytes)


def build(  # noqa: PLR0913 - what a process chooses of it
    database: Database,
    *,
    queue: Queue | None = None,
    clock: Clock = system_clock,
    limits: WorkerLimits | None = None,
    people: PeopleSettings | None = None,
    tracer: Tracer | None = None,
) -> Platform:
    """Compose the slices over a migrated database; without a queue, events wait in the database."""
    ids = id_source()
    audit = AuditTrail(database, ids=ids, clock=clock, actor=actor)
    queue = queue or SqlInbox(database, clock)
    ingestion_store = IngestionStore(database)
    wallet = WalletOperations(database, WalletStore(database), ids=ids, clock=clock)
    account = AccountOperations(
        database,
        AccountStore(database),
        ids=ids,
        clock=clock,
        random_bytes=secrets.token_bytes,
        payers_changed=wallet.forget_payers,
    )
    known = registry(
        database, AccountStore(database), audit=audit, ids=ids, clock=clock, random_bytes=secrets.token_bytes
    )
    errands = Errands()
    people = people or PeopleSettings()
    newcomers = Newcomers(welcome=people.sign_up_open, clock=clock)
    members = compose_people(known, people, errands, newcomers=newcomers)
    registering = Registering(database, account, audit=audit, clock=clock, newcomers=newcomers)
    catalogue, tariff_store = load_catalogue(), TariffStore(database)
    tariffs = StoredTariffs(database, tariff_store, catalogue.book())
    rating = RatingOperations(catalogue, clock=clock, tariffs=tariffs)
    burn_tables = BurnTableOperations(database, tariff_store, tariffs=tariffs, ids=ids, clock=clock)
    prompts = PromptOperations(database, PromptStore(database), audit=audit, clock=clock)
    analytics_store = AnalyticsStore(database)
    analytics = AnalyticsOperations(database, analytics_store, names=account.names, clock=clock)
    quotas = people.monthly_quotas
    ingestion = IngestionOperations(
        database,
        ingestion_store,
        queue,
        ids=ids,
        clock=clock,
        quotas=QuotaDesk(database, quotas, plan_of=registering.plan, clock=clock) if quotas else None,
    )
    entitlements = LimitOperations(
        database,
        LimitStore(database),
        RollupUsage(WindowSums(database)),
        ids=ids,
        clock=clock,
        notice=CARD_LIFE,
    )
    admission = Admission(
        database,
        account=account,
        wallet=wallet,
        rating=rating,
        limits=LimitCheck(entitlements, rating, clock=clock),
        clock=clock,
    )
    entitlement_check = EntitlementCheck(database, admission, rating=rating, wallet=wallet)
    slices = Slices(
        ingestion=ingestion_store,
        rating=rating,
        wallet=wallet,
        analytics=analytics,
        account=account,
        prompt=prompts,
    )
    settlement = SettlementMetrics({model.provider for model in catalogue.models})
    tracer = tracer or Untraced()
    notice = SettlementNotice(settlement.note, tracer)
    settler = Settler(database, slices, clock, settled=notice)
    rater = UnratedRater(database, slices, limits=entitlements, versions=tariff_store.versions, clock=clock)
    job_deadlines = JobDeadlines(database, slices, clock)
    worker = Worker(
        database,
        queue,
        settler,
        store=ingestion_store,
        ids=ids,
        clock=clock,
        limits=limits or WorkerLimits(),
        chores=(rater.advance, job_deadlines.advance),
    )
    feeds = compose_feeds(
        database,
        queue,
        settled=analytics_store,
        standing=Standing(database, AccountStore(database), known.secrets, clock=clock),
        clock=clock,
    )
    administration = Administration(
        database,
        AccountStore(database),
        figures=Figures(Holdings(database), analytics.count_events),
        audit=audit,
        clock=clock,
    )
    servicers = (
        PeopleServicer(account, members),
        OidcServicer(oidc_entrance(people.oidc, members.entrance, clock=clock)),
        RegistrationServicer(registering),
        AdminServicer(administration),
        AnalyticsServicer(
            analytics,
            version_count=prompts.version_count,
            burn_rates=BurnRates(WindowSums(database), available=PayerFunds(wallet), clock=clock),
            export=EventExport(database, analytics_store.events, clock=clock),
            feed=feeds.events,
        ),
        EntitlementServicer(entitlements, entitlement_check, require_own=account.require_own),
        EdgeServicer(
            admission, wallet, feed=feeds.edges, incarnation=read_incarnation(database), clock=clock
        ),
        IngestionServicer(
            ingestion,
            key_owners=account.keys_by_id,
            count_unrated=analytics.count_unrated,
            settled=SettledStanding(analytics, ingestion.find_job),
            letters=LetterReplay(
                database,
                ingestion_store,
                settler,
                wallet=wallet,
                limits=entitlements,
                trail=audit,
            ),
            clock=clock,
        ),
        PromptServicer(prompts),
        RatingServicer(
            rating,
            burn_tables=burn_tables,
            prices=PriceOperations(database, tariff_store, tariffs=tariffs, ids=ids, clock=clock),
            explanations=Explanations(tariffs, burn_tables, charges=ChargeHistory(analytics)),
            past=PastEventRater(
                database,
                slices,
                proposals=Proposals(rating, tariffs, burn_tables=burn_tables),
                ids=ids,
                clock=clock,
            ),
        ),
        WalletServicer(wallet),
    )
    return Platform(
        database=database,
        ids=ids,
        account=account,
        wallet=wallet,
        analytics=analytics,
        burn_tables=burn_tables,
        worker=worker,
        feeds=feeds,
        servicers=servicers,
        authenticator=CallerAuthenticator(keys=account.authenticator(), sessions=known.sessions),
        people=members,
        errands=errands,
        settlement=settlement,
        tracer=tracer,
        stores=StoreReader(database, queue, ingestion=ingestion_store, wallet=wallet, clock=clock),
    )
