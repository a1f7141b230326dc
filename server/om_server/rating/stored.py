"""What an organization has stored of its tariff: burn tables, their activations, and prices."""

import hashlib
from dataclasses import dataclass

from om_server.rating.burn_table import BurnRule
from om_server.rating.price import Price


@dataclass(frozen=True, slots=True)
class BurnTableDraft:
    """A burn table as it is to be stored. An empty customer id means the whole organization."""

    display_name: str
    rules: tuple[BurnRule, ...]
    customer_id: str = ""


@dataclass(frozen=True, slots=True)
class StoredBurnTable:
    """A burn table that never changes again; its rules without the default that follows them."""

    burn_table_id: str
    display_name: str
    customer_id: str
    rules: tuple[BurnRule, ...]
    create_time: int | None


@dataclass(frozen=True, slots=True)
class StoredActivation:
    """From when a burn table applies to a customer, or to the organization where the id is empty."""

    activation_id: str
    customer_id: str
    burn_table_id: str
    effective_time: int


@dataclass(frozen=True, slots=True)
class StoredPrice:
    """A price of an organization; its id is its version."""

    price: Price
    create_time: int


@dataclass(frozen=True, slots=True)
class Request:
    """What makes a retry safe: the caller's key, and a hash of what was asked for under it."""

    idempotency_key: str
    request_hash: str


def content_hash(*parts: str) -> str:
    """Return the SHA-256 of what was asked for, by which a repeat is told from another request."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
