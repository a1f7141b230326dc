"""Everything that analytics keeps, in one place for whoever composes it."""

from om_server.analytics.event_store import EventStore
from om_server.analytics.revision_store import RevisionStore
from om_server.analytics.rollup_store import RollupStore
from om_server.analytics.rollup_table import MODELS as ROLLUP_TABLES
from om_server.analytics.settlement_log import SettlementLog, SettlementRow
from om_server.analytics.table import MODELS as EVENT_TABLES
from om_server.storage.database import Database, Record

MODELS: tuple[type[Record], ...] = (*EVENT_TABLES, *ROLLUP_TABLES, SettlementRow)


class AnalyticsStore:
    """Settled events and their rollups; the caller opens the transaction."""

    def __init__(self, database: Database) -> None:
        self.events = EventStore(database)
        self.rollups = RollupStore(database)
        self.revisions = RevisionStore(database)
        self.settlements = SettlementLog(database)
