"""The hash chain over a wallet's entries, by which a changed, lost or moved row shows.

Version 1 of a link: SHA-256 over "om1", the hash of the entry before (hex, "" for the first), and the
entry's columns as compact JSON in the order of the table, organization first.
"""

import hashlib
from collections.abc import Iterable

import orjson

from om_server.wallet.entry import Entry

#: An entry's columns but its hash: texts and integers.
EntryColumns = tuple[str | int, ...]

_VERSION = b"om1"


def link(previous: str, columns: EntryColumns) -> str:
    """Return the hash of an entry that follows the entry with the hash `previous`."""
    return hashlib.sha256(_VERSION + previous.encode() + orjson.dumps(columns)).hexdigest()


def columns_of(organization_id: str, entry: Entry) -> EntryColumns:
    """Return an entry's columns in the order of its table."""
    return (organization_id, *entry)


def chained(organization_id: str, entries: Iterable[Entry], *, previous: str) -> list[EntryColumns]:
    """Return the rows of entries that follow one another in one wallet, each ending in its hash."""
    rows = []
    for entry in entries:
        columns = columns_of(organization_id, entry)
        previous = link(previous, columns)
        rows.append((*columns, previous))
    return rows
