"""Answers under idempotency keys: the first call's effect and answer, replayed to every repeat."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from om_server.core.errors import IdempotencyKeyReused
from om_server.core.money import Money
from om_server.wallet.entry import Account, Entry, EntryKind
from om_server.wallet.grant import Grant
from om_server.wallet.record import AnswerRow
from om_server.wallet.wallet import Owner, OwnerKind, Wallet, WalletMode

if TYPE_CHECKING:
    # The only structural use: any frozen request that can be hashed field by field.
    from _typeshed import DataclassInstance


@dataclass(frozen=True, slots=True)
class Receipt:
    """What moving money did: the wallet after it, the entries, and the grant if one came in."""

    wallet: Wallet
    entries: tuple[Entry, ...]
    grant: Grant | None = None
    replayed: bool = False


def request_hash(request: "DataclassInstance") -> str:
    """Return the SHA-256 of a request's fields, by which a repeat is told from another request."""
    return hashlib.sha256(json.dumps(asdict(request), sort_keys=True).encode()).hexdigest()


class AnswerStore:
    """Keys of one organization and operation. A row lives and dies with the transaction of its effect."""

    def claim(
        self, organization_id: str, operation: str, *, key: str, digest: str, now: int
    ) -> Receipt | None:
        """Take a key, or return the answer that was given under it.

        The insert waits for a twin that is not committed yet, so the loser reads the twin's answer.
        """
        insert = AnswerRow.insert(
            organization_id=organization_id,
            operation=operation,
            idempotency_key=key,
            request_hash=digest,
            response="",
            create_time=now,
        ).on_conflict_ignore()
        if list(insert.returning(AnswerRow.idempotency_key).tuples().execute()):
            return None
        row = AnswerRow.get(*_same(organization_id, operation, key=key))
        if row.request_hash != digest:
            raise IdempotencyKeyReused(operation)
        return replace(receipt_from_json(row.response), replayed=True)

    def keep(self, organization_id: str, operation: str, *, key: str, receipt: Receipt) -> None:
        """Store the answer of a key that this transaction claimed."""
        response = json.dumps(asdict(receipt), separators=(",", ":"))
        AnswerRow.update(response=response).where(*_same(organization_id, operation, key=key)).execute()


def _same(organization_id: str, operation: str, *, key: str) -> tuple[Any, ...]:
    return (
        AnswerRow.organization_id == organization_id,
        AnswerRow.operation == operation,
        AnswerRow.idempotency_key == key,
    )


def receipt_from_json(text: str) -> Receipt:
    """Read a stored answer. Fields that it lacks were added since and have their defaults."""
    stored = json.loads(text)
    return Receipt(
        wallet=_wallet(stored["wallet"]),
        entries=tuple(_entry(entry) for entry in stored["entries"]),
        grant=_grant(stored["grant"]) if stored["grant"] else None,
    )


def _wallet(fields: Mapping[str, Any]) -> Wallet:
    owner = Owner(OwnerKind(fields["owner"]["kind"]), fields["owner"]["owner_id"])
    return Wallet(**{**fields, "owner": owner, "mode": WalletMode(fields["mode"])})


def _entry(fields: Mapping[str, Any]) -> Entry:
    accounts = {name: Account(fields[name]) for name in ("debit_account", "credit_account")}
    return Entry(**{**fields, **accounts, "kind": EntryKind(fields["kind"])})


def _grant(fields: Mapping[str, Any]) -> Grant:
    price = fields["price"]
    return Grant(**{**fields, "price": Money(price["currency"], price["nanos"]) if price else None})
