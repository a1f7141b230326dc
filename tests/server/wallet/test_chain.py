import hashlib

import pytest

from om_server.wallet.chain import chained, columns_of, link
from om_server.wallet.entry import CHARGE, Cause
from tests.server.wallet.scene import book_with, grant


def test_a_link_is_the_documented_hash_of_the_entry_before_and_the_columns() -> None:
    book = book_with(grant("a", 10))
    book.charge(4, cause=Cause(event_source="api", event_id="evt_1", description='caf\u00e9 "x"'))
    first, second = chained("org_1", book.entries, previous="")
    text = (
        '["org_1","wal",1,"ent_000001","grant","funding","available",10,"a","","","","ent_000001","",10,1000]'
    )
    assert first[-1] == hashlib.sha256(b"om1" + text.encode()).hexdigest()
    text = (
        '["org_1","wal",2,"ent_000002","charge","available","revenue",4,"a","","api","evt_1","ent_000002",'
        '"caf\u00e9 \\"x\\"",6,1000]'
    )
    assert second[-1] == hashlib.sha256(f"om1{first[-1]}{text}".encode()).hexdigest()


def test_every_column_and_the_entry_before_change_the_hash() -> None:
    book = book_with(grant("a", 10))
    book.charge(4, cause=Cause("hold", "api", "evt_1", "text"))
    columns = columns_of("org_1", book.entries[-1])
    hashes = {link("", columns), link("0", columns)}
    for index, value in enumerate(columns):
        other = value + 1 if isinstance(value, int) else f"{value}x"
        hashes.add(link("", (*columns[:index], other, *columns[index + 1 :])))
    assert len(hashes) == len(columns) + 2


@pytest.mark.parametrize("previous", ["", "ab"])
def test_a_chain_goes_on_where_it_was_left(previous: str) -> None:
    book = book_with(grant("a", 10))
    for _ in range(3):
        book.charge(1, cause=Cause())
    whole = chained("org", book.entries, previous=previous)
    start = chained("org", book.entries[:2], previous=previous)
    head = start[-1][-1]
    assert isinstance(head, str)
    assert [*start, *chained("org", book.entries[2:], previous=head)] == whole
    assert {row[4] for row in whole} == {"grant", CHARGE.kind}
