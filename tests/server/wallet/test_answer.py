import json
from dataclasses import asdict

from om_server.core.money import USD, Money
from om_server.wallet.answer import Receipt, receipt_from_json, request_hash
from om_server.wallet.funding import Deduction, Deposit
from om_server.wallet.grant import Grant
from om_server.wallet.wallet import Owner, OwnerKind
from tests.server.wallet.scene import NONE, book_with, grant

ADA = Owner(OwnerKind.USER, "ada")


def test_a_receipt_is_read_back_as_it_was() -> None:
    book = book_with(grant("a", 10, expire_time=5_000), credit_limit=7)
    entries = book.deduct(12, cause=NONE)
    for receipt in (Receipt(book.wallet, entries, book.grant("a")), Receipt(book.wallet, ())):
        assert receipt_from_json(json.dumps(asdict(receipt))) == receipt


def test_a_price_is_read_back_as_it_was() -> None:
    paid = Receipt(book_with().wallet, (), grant=Grant("a", "wal", 1, 0, price=Money(USD, 3)))
    assert receipt_from_json(json.dumps(asdict(paid))) == paid


def test_the_hash_tells_every_field_of_a_request() -> None:
    requests: list[Deduction | Deposit] = [
        Deduction(ADA, 5, "key"),
        Deduction(ADA, 6, "key"),
        Deduction(ADA, 5, "key", description="x"),
        Deduction(Owner(OwnerKind.TEAM, "ada"), 5, "key"),
        Deposit(ADA, 5, "key"),
        Deposit(ADA, 5, "key", priority=1),
        Deposit(ADA, 5, "key", expire_time=1),
        Deposit(ADA, 5, "key", price=Money(USD, 5)),
    ]
    assert len({request_hash(request) for request in requests}) == len(requests)
    assert request_hash(Deduction(ADA, 5, "key")) == request_hash(Deduction(ADA, 5, "key"))
