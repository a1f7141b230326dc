import pytest

from om.type.v1.money_pb2 import Money
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.rest.documented.statement import reason_of, transaction_type, wallet_body

CREDIT = 10**9


def transaction(kind: str, credits_moved: int, description: str = "") -> wallet_pb.Transaction:
    return wallet_pb.Transaction(
        kind=wallet_pb.EntryKind.Value(f"ENTRY_KIND_{kind}"),
        amount=Money(currency_code="CREDITS", amount_nanos=credits_moved * CREDIT),
        description=description,
    )


@pytest.mark.parametrize(
    ("kind", "moved", "published", "reason"),
    [
        ("GRANT", 5, "GRANT", None),
        ("PURCHASE", 5, "PURCHASE", None),
        ("CAPTURE", -5, "BURN", "AI usage credit burn"),
        ("CHARGE", -5, "BURN", "AI usage credit burn"),
        ("DEDUCTION", -5, "BURN", "AI usage credit burn"),
        ("REPAYMENT", -5, "BURN", "AI usage credit burn, paid later"),
        ("SUSPENSE", -5, "BURN", "AI usage of unknown cost, set aside"),
        ("RELEASE", 5, "REFUND", None),
        ("REFUND", 5, "REFUND", None),
        ("EXPIRY", -5, "EXPIRATION", "Expired credits"),
        ("TRANSFER", -5, "BURN", "Credit transfer"),
        ("TRANSFER", 5, "GRANT", "Credit transfer"),
        ("ADJUSTMENT", -5, "BURN", "AI usage credit burn"),
        ("ADJUSTMENT", 5, "GRANT", None),
    ],
)
def test_every_kind_of_entry_has_one_of_the_five_published_types(
    kind: str, moved: int, published: str, reason: str | None
) -> None:
    found = transaction(kind, moved)

    assert (transaction_type(found), reason_of(found)) == (published, reason)


def test_what_the_request_said_is_the_reason() -> None:
    assert reason_of(transaction("DEDUCTION", -5, "A report")) == "A report"


@pytest.mark.parametrize("state", ["ACTIVE", "EXHAUSTED", "BLOCKED"])
def test_a_wallet_without_transactions(state: str) -> None:
    wallet = wallet_pb.Wallet(exists=True, state=wallet_pb.WalletState.Value(f"WALLET_STATE_{state}"))

    assert wallet_body("ada", wallet, latest=[]) == {
        "userId": "ada",
        "balance": 0,
        "currency": "CREDITS",
        "status": state,
        "lastTransaction": None,
    }
