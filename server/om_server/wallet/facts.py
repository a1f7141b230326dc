"""What the audit log shows of wallets, holds and decisions. Amounts are credits, as decimal text."""

from collections.abc import Callable

from om_server.core.audit import AuditEntry, Facts, moment
from om_server.core.money import CREDITS, Money
from om_server.storage.audit import AuditTrail
from om_server.wallet.answer import Receipt
from om_server.wallet.entry import Account, Entry
from om_server.wallet.holds.hold import Hold
from om_server.wallet.wallet import Wallet


def wallet_facts(wallet: Wallet) -> Facts:
    """Show what is set, not what moves."""
    return {
        "owner_kind": wallet.owner.kind.value,
        "owner_id": wallet.owner.owner_id,
        "mode": wallet.mode.value,
        "blocked": wallet.blocked,
        "credit_limit": credits_text(wallet.credit_limit),
        "overflow_wallet_id": wallet.overflow_wallet_id,
    }


def hold_facts(hold: Hold) -> Facts:
    return {
        "wallet_id": hold.wallet_id,
        "state": hold.state.value,
        "amount": credits_text(hold.amount),
        "captured": None if hold.captured is None else credits_text(hold.captured),
        "expire_time": moment(hold.expire_time),
    }


def receipt_entry(action: str, receipt: Receipt) -> AuditEntry:
    """Tell what a request did: of a hold what it is, of all others what was available before and after."""
    wallet, hold = receipt.wallet, receipt.hold
    if hold is not None:
        return AuditEntry(action, "hold", hold.hold_id, after=hold_facts(hold))
    entries = [entry for entry in receipt.entries if entry.wallet_id == wallet.wallet_id]
    after: dict[str, str] = {
        "available": credits_text(entries[-1].available_after),
        "entry_id": entries[0].entry_id,
    }
    if receipt.target is not None:
        after["target_wallet_id"] = receipt.target.wallet_id
    before = {"available": credits_text(entries[0].available_after - _change(entries[0]))}
    return AuditEntry(action, "wallet", wallet.wallet_id, before=before, after=after)


def noted(trail: AuditTrail) -> Callable[[str, str, Receipt], None]:
    """Return what records the requests that move money, for `Once`."""

    def note(organization_id: str, action: str, receipt: Receipt) -> None:
        trail.record(organization_id, receipt_entry(action, receipt))

    return note


def credits_text(nanos: int) -> str:
    """Return nano-credits as a record shows them."""
    return Money(CREDITS, nanos).decimal()


def _change(entry: Entry) -> int:
    """Return by how much an entry changed what is available."""
    gained = entry.amount if entry.credit_account is Account.AVAILABLE else 0
    return gained - (entry.amount if entry.debit_account is Account.AVAILABLE else 0)
