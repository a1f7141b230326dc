"""Wallets and grants as rows, and back."""

from collections.abc import Mapping
from typing import Any

from om_server.core.money import Money
from om_server.storage.statement import Row
from om_server.wallet.grant import Grant
from om_server.wallet.record import GrantRow, WalletRow
from om_server.wallet.wallet import Owner, OwnerKind, Wallet, WalletMode

WALLET_COLUMNS = (
    WalletRow.owner_kind,
    WalletRow.owner_id,
    WalletRow.mode,
    WalletRow.blocked,
    WalletRow.overflow_wallet_id,
    WalletRow.wallet_id,
    WalletRow.available,
    WalletRow.held,
    WalletRow.receivable,
    WalletRow.credit_limit,
    WalletRow.entry_sequence,
    WalletRow.create_time,
    WalletRow.chain_hash,
)

#: In the order of the fields of `Grant`, whose last is made of two columns.
GRANT_COLUMNS = (
    GrantRow.grant_id,
    GrantRow.wallet_id,
    GrantRow.amount,
    GrantRow.create_time,
    GrantRow.available,
    GrantRow.held,
    GrantRow.priority,
    GrantRow.expire_time,
    GrantRow.credit_line,
    GrantRow.price_currency,
    GrantRow.price_amount,
)


def wallet_from_row(row: Row) -> Wallet:
    """Make a wallet of the columns of WALLET_COLUMNS."""
    kind, owner_id, mode, blocked, overflow, *rest = row
    wallet_id, available, held, receivable, credit_limit, entry_sequence, create_time, chain_hash = rest
    return Wallet(
        wallet_id=wallet_id,
        owner=Owner(OwnerKind(kind), owner_id),
        mode=WalletMode(mode),
        blocked=bool(blocked),
        available=available,
        held=held,
        receivable=receivable,
        credit_limit=credit_limit,
        overflow_wallet_id=overflow or "",
        entry_sequence=entry_sequence,
        create_time=create_time,
        chain_hash=chain_hash,
    )


def wallet_to_row(organization_id: str, wallet: Wallet) -> Mapping[str, object]:
    return {
        "organization_id": organization_id,
        "wallet_id": wallet.wallet_id,
        "owner_kind": wallet.owner.kind,
        "owner_id": wallet.owner.owner_id,
        "mode": wallet.mode,
        "blocked": wallet.blocked,
        "available": wallet.available,
        "held": wallet.held,
        "receivable": wallet.receivable,
        "credit_limit": wallet.credit_limit,
        "overflow_wallet_id": wallet.overflow_wallet_id or None,
        "entry_sequence": wallet.entry_sequence,
        "create_time": wallet.create_time,
    }


def grant_from_row(row: Row) -> Grant:
    """Make a grant of the columns of GRANT_COLUMNS."""
    *columns, credit_line, currency, price = row
    fields: list[Any] = [*columns, bool(credit_line), None if price is None else Money(currency, price)]
    return Grant(*fields)


def grant_to_row(organization_id: str, grant: Grant) -> Mapping[str, object]:
    return {
        "organization_id": organization_id,
        "grant_id": grant.grant_id,
        "wallet_id": grant.wallet_id,
        "credit_line": grant.credit_line,
        "amount": grant.amount,
        "available": grant.available,
        "held": grant.held,
        "priority": grant.priority,
        "expire_time": grant.expire_time,
        "price_currency": grant.price.currency if grant.price else None,
        "price_amount": grant.price.nanos if grant.price else None,
        "create_time": grant.create_time,
    }
