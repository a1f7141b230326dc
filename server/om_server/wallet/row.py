"""Wallets and grants as rows, and back."""

from collections.abc import Mapping

from om_server.core.money import Money
from om_server.wallet.grant import Grant
from om_server.wallet.record import GrantRow, WalletRow
from om_server.wallet.wallet import Owner, OwnerKind, Wallet, WalletMode


def wallet_from_row(row: WalletRow) -> Wallet:
    return Wallet(
        wallet_id=row.wallet_id,
        owner=Owner(OwnerKind(row.owner_kind), row.owner_id),
        mode=WalletMode(row.mode),
        blocked=row.blocked,
        available=row.available,
        held=row.held,
        receivable=row.receivable,
        credit_limit=row.credit_limit,
        overflow_wallet_id=row.overflow_wallet_id or "",
        entry_sequence=row.entry_sequence,
        create_time=row.create_time,
        chain_hash=row.chain_hash,
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


def grant_from_row(row: GrantRow) -> Grant:
    price = None
    if row.price_currency is not None and row.price_amount is not None:
        price = Money(row.price_currency, row.price_amount)
    return Grant(
        grant_id=row.grant_id,
        wallet_id=row.wallet_id,
        amount=row.amount,
        create_time=row.create_time,
        available=row.available,
        held=row.held,
        priority=row.priority,
        expire_time=row.expire_time,
        credit_line=row.credit_line,
        price=price,
    )


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
