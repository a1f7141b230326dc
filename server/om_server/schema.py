"""Every table's model in one list, for binding them to a database at start."""

from __future__ import annotations

from om_server.account import store as account
from om_server.account.people import store as people
from om_server.account.registration import store as registration
from om_server.analytics import store as analytics
from om_server.ingestion import quota_store as quota
from om_server.ingestion import store as ingestion
from om_server.prompt import store as prompt
from om_server.rating import rerate_store
from om_server.rating import store as rating
from om_server.storage import audit, change_log, inbox
from om_server.wallet import store as wallet
from om_server.wallet.limits import store as limits

MODELS = (
    *account.MODELS,
    *people.MODELS,
    *registration.MODELS,
    *wallet.MODELS,
    *limits.LIMIT_MODELS,
    *ingestion.MODELS,
    *quota.MODELS,
    *analytics.MODELS,
    *prompt.MODELS,
    *rating.MODELS,
    *rerate_store.MODELS,
    *inbox.MODELS,
    *change_log.MODELS,
    *audit.MODELS,
)
