"""Answers under idempotency keys: the first call's effect and answer, replayed to every repeat."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from om_server.core.clock import Clock
from om_server.core.errors import IdempotencyKeyReused
from om_server.core.money import Money
from om_server.storage.database import Database
from om_server.wallet.entry import Account, Entry, EntryKind
from om_server.wallet.grant import Grant, Slice
from om_server.wallet.holds.hold import Hold, HoldState
from om_server.wallet.record import AnswerRow
from om_server.wallet.wallet import Owner, OwnerKind, Wallet, WalletMode

if TYPE_CHECKING:
    # The only structural use: any frozen request that can be hashed field by field.
    from _typeshed import DataclassInstance


@dataclass(frozen=True, slots=True)
class Receipt:
    """What moving money did: the wallet after it, the entries, and the grant or hold if one was made.

    After a transfer `wallet` is the one that gave, and `target` the one that got.
    """

    wallet: Wallet
    entries: tuple[Entry, ...]
    grant: Grant | None = None
    hold: Hold | None = None
    target: Wallet | None = None
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


if TYPE_CHECKING:

    class KeyedRequest(DataclassInstance, Protocol):
        """A frozen request that a caller may repeat under its key."""

        @property
        def idempotency_key(self) -> str: ...


class Once:
    """Runs an effect once for each idempotency key of an organization and operation, and has it noted."""

    def __init__(
        self,
        database: Database,
        answers: AnswerStore,
        *,
        clock: Clock,
        done: Callable[[str, str, Receipt], None],
    ) -> None:
        """`done` is told, within the transaction, for whom which operation did what; of repeats nothing."""
        self._database = database
        self._answers = answers
        self._clock = clock
        self._done = done

    def run(
        self,
        organization_id: str,
        request: "KeyedRequest",
        *,
        operation: str,
        effect: Callable[[int], Receipt],
    ) -> Receipt:
        """Run the effect at the present for the first call, and answer every other from what it stored.

        A refusal rolls the key back with everything else, so that a repeat may succeed after a top-up.
        Whoever calls inside a transaction of his own must let the refusal end it.
        """

        def transaction() -> Receipt:
            now, key = self._clock(), request.idempotency_key
            stored = self._answers.claim(
                organization_id, operation, key=key, digest=request_hash(request), now=now
            )
            if stored is not None:
                return stored
            receipt = effect(now)
            self._answers.keep(organization_id, operation, key=key, receipt=receipt)
            self._done(organization_id, operation, receipt)
            return receipt

        return self._database.write(transaction)


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
        hold=_hold(stored["hold"]) if stored.get("hold") else None,
        target=_wallet(stored["target"]) if stored.get("target") else None,
    )


def _wallet(fields: Mapping[str, Any]) -> Wallet:
    owner = Owner(OwnerKind(fields["owner"]["kind"]), fields["owner"]["owner_id"])
    return Wallet(**{**fields, "owner": owner, "mode": WalletMode(fields["mode"])})


def _entry(columns: Sequence[Any]) -> Entry:
    # A tuple in a dataclass is stored as a list.
    fields = dict(zip(Entry._fields, columns, strict=True))
    accounts = {name: Account(fields[name]) for name in ("debit_account", "credit_account")}
    return Entry(**{**fields, **accounts, "kind": EntryKind(fields["kind"])})


def _grant(fields: Mapping[str, Any]) -> Grant:
    price = fields["price"]
    return Grant(**{**fields, "price": Money(price["currency"], price["nanos"]) if price else None})


def _hold(fields: Mapping[str, Any]) -> Hold:
    slices = tuple(Slice(**piece) for piece in fields["slices"])
    return Hold(**{**fields, "state": HoldState(fields["state"]), "slices": slices})
