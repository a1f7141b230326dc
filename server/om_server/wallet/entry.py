"""Entries: the immutable rows of the ledger. Each moves an amount from one account to another."""

import enum
from typing import NamedTuple

from om_server.core.value import value_type


class Account(enum.StrEnum):
    """Where money can be. The first three are columns of a wallet, the others sums over the journal."""

    AVAILABLE = "available"
    HELD = "held"
    #: What usage that happened could not be paid. It grows when it gives and shrinks when it gets.
    RECEIVABLE = "receivable"
    #: The outside world, where credits come from.
    FUNDING = "funding"
    REVENUE = "revenue"
    #: What of the revenue was given back; the revenue itself stays as it was earned.
    REFUNDED = "refunded"
    BREAKAGE = "breakage"
    #: What was held and has no known end; only an owner, or a late outcome, takes it out again.
    SUSPENSE = "suspense"
    #: Between two rows of one group that move money from grant to grant, also of two wallets; empty
    #: after each group.
    CLEARING = "clearing"


class EntryKind(enum.StrEnum):
    """What a movement was for; the names are the contract's."""

    GRANT = "grant"
    PURCHASE = "purchase"
    RESERVE = "reserve"
    RELEASE = "release"
    CAPTURE = "capture"
    CHARGE = "charge"
    RECEIVABLE = "receivable"
    REPAYMENT = "repayment"
    EXPIRY = "expiry"
    REFUND = "refund"
    TRANSFER = "transfer"
    ADJUSTMENT = "adjustment"
    SUSPENSE = "suspense"
    DEDUCTION = "deduction"


#: Money that only changed its place inside the wallet: nobody gained or lost.
INTERNAL_KINDS = frozenset({EntryKind.RESERVE, EntryKind.RELEASE})


class Movement(NamedTuple):
    """A kind of entry with the account that gives and the account that gets."""

    kind: EntryKind
    debit: Account
    credit: Account


GRANT = Movement(EntryKind.GRANT, Account.FUNDING, Account.AVAILABLE)
PURCHASE = Movement(EntryKind.PURCHASE, Account.FUNDING, Account.AVAILABLE)
RESERVE = Movement(EntryKind.RESERVE, Account.AVAILABLE, Account.HELD)
RELEASE = Movement(EntryKind.RELEASE, Account.HELD, Account.AVAILABLE)
CAPTURE = Movement(EntryKind.CAPTURE, Account.HELD, Account.REVENUE)
CHARGE = Movement(EntryKind.CHARGE, Account.AVAILABLE, Account.REVENUE)
RECEIVABLE = Movement(EntryKind.RECEIVABLE, Account.RECEIVABLE, Account.REVENUE)
REPAYMENT = Movement(EntryKind.REPAYMENT, Account.AVAILABLE, Account.RECEIVABLE)
#: From an ordinary grant to the credit line, in two rows.
OVERDRAFT_GIVEN = Movement(EntryKind.REPAYMENT, Account.AVAILABLE, Account.CLEARING)
OVERDRAFT_TAKEN = Movement(EntryKind.REPAYMENT, Account.CLEARING, Account.AVAILABLE)
EXPIRY = Movement(EntryKind.EXPIRY, Account.AVAILABLE, Account.BREAKAGE)
REFUND = Movement(EntryKind.REFUND, Account.REFUNDED, Account.AVAILABLE)
#: From a grant to a new grant of another wallet, in two rows, one in each wallet's ledger.
TRANSFER_GIVEN = Movement(EntryKind.TRANSFER, Account.AVAILABLE, Account.CLEARING)
TRANSFER_TAKEN = Movement(EntryKind.TRANSFER, Account.CLEARING, Account.AVAILABLE)
ADJUSTMENT_UP = Movement(EntryKind.ADJUSTMENT, Account.FUNDING, Account.AVAILABLE)
ADJUSTMENT_DOWN = Movement(EntryKind.ADJUSTMENT, Account.AVAILABLE, Account.FUNDING)
#: From one lease or hold to another, in two rows of the same grant.
HANDED_OVER = Movement(EntryKind.RELEASE, Account.HELD, Account.CLEARING)
TAKEN_OVER = Movement(EntryKind.RESERVE, Account.CLEARING, Account.HELD)
SUSPEND = Movement(EntryKind.SUSPENSE, Account.HELD, Account.SUSPENSE)
SUSPENSE_CAPTURE = Movement(EntryKind.CAPTURE, Account.SUSPENSE, Account.REVENUE)
#: From the credit line's suspense to a new grant, in two rows.
SUSPENSE_GIVEN = Movement(EntryKind.RELEASE, Account.SUSPENSE, Account.CLEARING)
SUSPENSE_TAKEN = Movement(EntryKind.RELEASE, Account.CLEARING, Account.AVAILABLE)
SUSPENSE_RELEASE = Movement(EntryKind.RELEASE, Account.SUSPENSE, Account.AVAILABLE)
DEDUCTION = Movement(EntryKind.DEDUCTION, Account.AVAILABLE, Account.REVENUE)


@value_type(frozen=True, slots=True)
class Cause:
    """Why money moves: the lease or hold, the event, or a text for people."""

    hold_id: str = ""
    event_source: str = ""
    event_id: str = ""
    description: str = ""
    #: Names the group of the entries where it must be the same at every attempt; else the first of them does.
    group_id: str = ""


class Entry(NamedTuple):
    """One movement of `amount` > 0. `debit_account` gave, `credit_account` got, both in this wallet.

    The rows of one operation share a group id, which is the id of the first of them. The fields are in
    the order of the table, behind its organization. A tuple, because settling makes one for each event
    and a frozen dataclass takes twice as long to make.
    """

    wallet_id: str
    sequence: int
    entry_id: str
    kind: EntryKind
    debit_account: Account
    credit_account: Account
    amount: int
    grant_id: str
    hold_id: str
    event_source: str
    event_id: str
    group_id: str
    description: str
    available_after: int
    create_time: int
