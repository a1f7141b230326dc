"""The composition root of the server: the only place that names concrete classes together."""

from __future__ import annotations

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
from om_server.core.clock import system_clock
from om_server.core.ids import IdSource
from om_server.ingestion.operations import IngestionOperations
from om_server.ingestion.servicer import IngestionServicer
from om_server.ingestion.store import IngestionStore
from om_server.pipeline.admission import Admission
from om_server.pipeline.edge_servicer import EdgeServicer
from om_server.pipeline.settle import Settler, Slices
from om_server.pipeline.worker import Worker, WorkerLimits
from om_server.rating.catalogue import load_catalogue
from om_server.rating.operations import RatingOperations
from om_server.rating.servicer import RatingServicer
from om_server.schema import MODELS
from om_server.storage.migrate import read_incarnation
from om_server.storage.postgresql import PostgresStore
from om_server.storage.queue import SqlInbox
from om_server.storage.sqlite import SqliteStore
from om_server.wallet.operations import WalletOperations
from om_server.wallet.servicer import WalletServicer
from om_server.wallet.store import WalletStore

if TYPE_CHECKING:
    from om_server.core.clock import Clock
    from om_server.settings import Settings
    from om_server.storage.database import Database


@dataclass(frozen=True, slots=True)
class Platform:
    """Everything that a process of the server may run."""

    database: Database
    ids: IdSource
    account: AccountOperations
    wallet: WalletOperations
    analytics: AnalyticsOperations
    worker: Worker
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


def build(database: Database, *, clock: Clock = system_clock, limits: WorkerLimits | None = None) -> Platform:
    """Compose the slices over a migrated database."""
    ids = id_source()
    inbox = SqlInbox(database, clock)
    ingestion_store = IngestionStore()
    account = AccountOperations(
        database, AccountStore(), ids=ids, clock=clock, random_bytes=secrets.token_bytes
    )
    wallet = WalletOperations(database, WalletStore(database), ids=ids, clock=clock)
    rating = RatingOperations(load_catalogue(), clock=clock)
    analytics = AnalyticsOperations(database, AnalyticsStore(database), names=account.names, clock=clock)
    ingestion = IngestionOperations(database, ingestion_store, inbox, ids=ids, clock=clock)
    admission = Admission(database, account=account, wallet=wallet, rating=rating, clock=clock)
    slices = Slices(
        ingestion=ingestion_store, rating=rating, wallet=wallet, analytics=analytics, account=account
    )
    worker = Worker(
        database,
        inbox,
        Settler(database, slices, clock),
        store=ingestion_store,
        ids=ids,
        clock=clock,
        limits=limits or WorkerLimits(),
    )
    servicers = (
        AccountServicer(account),
        AnalyticsServicer(analytics),
        EdgeServicer(admission, wallet, incarnation=read_incarnation(database), clock=clock),
        IngestionServicer(
            ingestion, key_owners=account.keys_by_id, count_unrated=analytics.count_unrated, clock=clock
        ),
        RatingServicer(rating),
        WalletServicer(wallet),
    )
    return Platform(database, ids, account, wallet, analytics, worker, servicers)
