"""The composition root of the server: the only place that names concrete classes together."""

from __future__ import annotations

import contextlib
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_server.account.operations import AccountOperations
from om_server.account.servicer import AccountServicer
from om_server.account.store import AccountStore
from om_server.analytics.operations import AnalyticsOperations
from om_server.analytics.servicer import AnalyticsServicer
from om_server.analytics.store import AnalyticsStore
from om_server.analytics.window_sum import WindowSums
from om_server.core.clock import MICROS_PER_SECOND, system_clock
from om_server.core.ids import IdSource
from om_server.ingestion.operations import IngestionOperations
from om_server.ingestion.servicer import IngestionServicer
from om_server.ingestion.store import IngestionStore
from om_server.pipeline.admission import Admission
from om_server.pipeline.change_feed import ChangeFeed, FeedLimits
from om_server.pipeline.charge_history import ChargeHistory
from om_server.pipeline.edge_servicer import EdgeServicer
from om_server.pipeline.entitlement import EntitlementCheck
from om_server.pipeline.entitlement_servicer import EntitlementServicer
from om_server.pipeline.job_deadlines import JobDeadlines
from om_server.pipeline.letter_replay import LetterReplay
from om_server.pipeline.limit_check import LimitCheck
from om_server.pipeline.past_events import PastEventRater
from om_server.pipeline.poller import Poller
from om_server.pipeline.rerating import UnratedRater
from om_server.pipeline.settle import Settler, Slices
from om_server.pipeline.settled_standing import SettledStanding
from om_server.pipeline.window_usage import RollupUsage
from om_server.pipeline.worker import Worker, WorkerLimits
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
from om_server.schema import MODELS
from om_server.storage.change_log import ChangeLog
from om_server.storage.handover import Handover
from om_server.storage.inbox import SqlInbox
from om_server.storage.migrate import read_incarnation
from om_server.storage.postgresql import PostgresStore
from om_server.storage.redis_stream import RedisStream
from om_server.storage.sqlite import SqliteStore
from om_server.storage.stream_group import connect
from om_server.wallet.limits.operations import LimitOperations
from om_server.wallet.limits.store import LimitStore
from om_server.wallet.operations import WalletOperations
from om_server.wallet.servicer import WalletServicer
from om_server.wallet.store import WalletStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from om_server.core.clock import Clock
    from om_server.settings import Settings
    from om_server.storage.database import Database
    from om_server.storage.queue import Queue


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
    poller: Poller
    servicers: tuple[object, ...]


def open_database(settings: Settings) -> Database:
    """Open the database that the settings name. Connections are made when they are needed."""
    if settings.on_sqlite:
        return SqliteStore(settings.sqlite_path, MODELS)
    # Each thread of the pool may hold a connection, and so may the worker and a poller.
    return PostgresStore(settings.database_url, MODELS, pool_size=settings.grpc_thread_count + 2)


def id_source() -> IdSource:
    """Ids from this machine's clock and its secure randomness."""
    return IdSource(lambda: time.time_ns() // 1_000_000, secrets.token_bytes)


@contextlib.contextmanager
def open_queue(settings: Settings, database: Database) -> Iterator[Queue]:
    """Give the queue that the settings name. Redis is connected to when it is needed."""
    inbox = SqlInbox(database, system_clock)
    if not settings.redis_url:
        yield inbox
        return
    with connect(settings.redis_url) as client:
        abandoned_after_us = settings.queue_abandoned_after_s * MICROS_PER_SECOND
        stream = RedisStream(client, database, system_clock, abandoned_after_us=abandoned_after_us)
        yield Handover(inbox, stream)


def build(
    database: Database,
    *,
    queue: Queue | None = None,
    clock: Clock = system_clock,
    limits: WorkerLimits | None = None,
) -> Platform:
    """Compose the slices over a migrated database; without a queue, events wait in the database."""
    ids = id_source()
    queue = queue or SqlInbox(database, clock)
    ingestion_store = IngestionStore(database)
    account = AccountOperations(
        database, AccountStore(database), ids=ids, clock=clock, random_bytes=secrets.token_bytes
    )
    wallet = WalletOperations(database, WalletStore(database), ids=ids, clock=clock)
    catalogue, tariff_store = load_catalogue(), TariffStore(database)
    tariffs = StoredTariffs(database, tariff_store, catalogue.book())
    rating = RatingOperations(catalogue, clock=clock, tariffs=tariffs)
    burn_tables = BurnTableOperations(database, tariff_store, tariffs=tariffs, ids=ids, clock=clock)
    analytics = AnalyticsOperations(database, AnalyticsStore(database), names=account.names, clock=clock)
    ingestion = IngestionOperations(database, ingestion_store, queue, ids=ids, clock=clock)
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
        ingestion=ingestion_store, rating=rating, wallet=wallet, analytics=analytics, account=account
    )
    settler = Settler(database, slices, clock)
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
    feed_limits = FeedLimits()
    feed = ChangeFeed(
        ChangeLog(database), clock=clock, limits=feed_limits, queue_incarnation=queue.incarnation
    )
    poller = Poller(feed, feed_limits)
    database.on_write(poller.wake)
    servicers = (
        AccountServicer(account),
        AnalyticsServicer(analytics),
        EntitlementServicer(entitlements, entitlement_check),
        EdgeServicer(admission, wallet, feed=poller, incarnation=read_incarnation(database), clock=clock),
        IngestionServicer(
            ingestion,
            key_owners=account.keys_by_id,
            count_unrated=analytics.count_unrated,
            settled=SettledStanding(analytics, ingestion.find_job),
            letters=LetterReplay(database, ingestion_store, settler, wallet=wallet, limits=entitlements),
            clock=clock,
        ),
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
    return Platform(database, ids, account, wallet, analytics, burn_tables, worker, poller, servicers)
