"""What organizations hold in all, beyond what one sum of SQLite can hold."""

from om_server.core.ids import IdSource
from om_server.core.money import AMOUNT_MAX, CREDITS, Money
from om_server.storage.database import Database
from om_server.wallet.funding import Deposit
from om_server.wallet.holdings import Holdings
from om_server.wallet.operations import WalletOperations
from om_server.wallet.store import WalletStore
from om_server.wallet.wallet import Owner, OwnerKind
from tests.server.wallet.scene import FakeClock

#: So many of the largest amounts are more than 64 bits hold.
COUNT = 2**63 // AMOUNT_MAX + 1


def test_all_wallets_of_an_organization_are_summed_exactly(
    database: Database, clock: FakeClock, ids: IdSource
) -> None:
    wallets = WalletOperations(database, WalletStore(database), ids=ids, clock=clock)
    for number in range(COUNT):
        owner = Owner(OwnerKind.USER, f"u{number}")
        wallets.grant_credits("org_a", Deposit(owner, AMOUNT_MAX, owner.owner_id))
    wallets.seed_grant("org_b", Money.parse("1.5", CREDITS))
    holdings = Holdings(database)

    assert holdings(None) == {"org_a": COUNT * AMOUNT_MAX, "org_b": 1_500_000_000}
    assert holdings(["org_b", "org_none"]) == {"org_b": 1_500_000_000}
