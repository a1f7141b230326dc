"""`openmonetize verify`: replays every ledger and says which disagrees with what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om.wallet.v1 import wallet_service_pb2 as pb
from om.wallet.v1 import wallet_service_pb2_grpc
from om_server import wiring
from om_server.cli.command import opened_by_operator, require_migrated
from om_server.cli.own_server import own_server
from om_server.storage.sqlite import DatabaseOwned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from om_server.settings import Settings
    from om_server.wallet.operations import WalletOperations

#: A large ledger takes minutes; 50,000 entries a second are read.
_TIMEOUT_S = 3600.0


class LedgerWrong(Exception):
    """At least one ledger disagrees with what is stored."""


def verify(settings: Settings) -> Iterator[str]:
    """Say what is found, a line each; LedgerWrong after the last where anything is wrong.

    All organizations of the database; where a running server owns its file, that of OM_API_KEY.
    """
    try:
        with opened_by_operator(settings) as database:
            require_migrated(database)
            yield from _verified(wiring.build(database).wallet)
    except DatabaseOwned:
        yield from _asked(settings)


def _verified(wallets: WalletOperations) -> Iterator[str]:
    ledgers = entries = wrong = 0
    for ledger in wallets.verify_all():
        ledgers += 1
        entries += ledger.entry_count
        if ledger.finding is not None:
            wrong += 1
            place = ledger.wallet_id or "the organization as a whole"
            entry_id = ledger.finding.entry_id or "its balances"
            yield f"{ledger.organization_id}, {place}: {entry_id}: {ledger.finding.message}"
    yield f"{entries} entries in {ledgers} ledgers read, {wrong or 'none'} of them wrong"
    if wrong:
        raise LedgerWrong


def _asked(settings: Settings) -> Iterator[str]:
    with own_server(settings) as server:
        stub = wallet_service_pb2_grpc.WalletServiceStub(server.channel)
        reply = server.call(stub.VerifyLedger, pb.VerifyLedgerRequest(), timeout_s=_TIMEOUT_S)
    if reply.valid:
        yield f"{reply.entry_count} entries of the key's organization read, nothing wrong"
        return
    yield f"{reply.first_bad_entry_id or 'the balances'}: {reply.message}"
    raise LedgerWrong
