"""What must be in the tables in the end, worked out from what was sent alone and read by plain SQL."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.faults.patience import awaited

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.faults.site import Site

Identity = tuple[str, str, str]


class Oracle:
    """Remembers every event that happened, its charge and who pays it."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._charges: dict[Identity, tuple[int, str]] = {}
        #: Set aside by settlement, and never settled.
        self.letters: set[Identity] = set()

    @property
    def identities(self) -> set[Identity]:
        return set(self._charges)

    def expect(self, identity: Identity, charge: int, wallet_id: str) -> None:
        assert identity not in self._charges
        self._charges[identity] = charge, wallet_id

    def forget(self, identities: Iterable[Identity]) -> None:
        """Expect events no more: they were lost as the documents say."""
        for identity in identities:
            del self._charges[identity]

    def settled(self) -> set[Identity]:
        rows = self._site.rows("SELECT organization_id, source, event_id FROM usage_events")
        return {(row[0], row[1], row[2]) for row in rows}

    def wait(self) -> None:
        """Wait until all is settled that is expected, and nothing is in between."""
        expected = len(self._charges)
        awaited(lambda: self._site.value("SELECT COUNT(*) FROM usage_events") >= expected)
        awaited(self._queue_is_empty)
        awaited(lambda: not self._open_leases())

    def check(self) -> None:
        """Compare event by event and wallet by wallet; then let the product's own audit look."""
        self.wait()
        self._events()
        self._ledger()
        self._wallets()
        self._rollups()
        letters = self._site.rows("SELECT organization_id, source, event_id FROM dead_letters")
        assert sorted(tuple(row) for row in letters) == sorted(self.letters)
        self._site.stop()
        audit = self._site.run("verify")
        assert audit.wait() == 0, audit.log.read_text()

    def _events(self) -> None:
        rows = self._site.rows(
            "SELECT organization_id, source, event_id, state, charge, wallet_id FROM usage_events"
        )
        found = {(row[0], row[1], row[2]): (row[3], row[4], row[5]) for row in rows}
        expected = {
            identity: ("RATED", charge, wallet_id) for identity, (charge, wallet_id) in self._charges.items()
        }
        assert len(rows) == len(found)
        lost, made = expected.keys() - found.keys(), found.keys() - expected.keys()
        assert (lost, made) == (set(), set()), f"{len(lost)} lost, {len(made)} from nowhere"
        assert found == expected

    def _ledger(self) -> None:
        """Every event earned its charge exactly once."""
        rows = self._site.rows(
            "SELECT organization_id, event_source, event_id, amount FROM entries "
            "WHERE credit_account = 'revenue' ORDER BY organization_id, wallet_id, sequence"
        )
        earned: dict[Identity, int] = defaultdict(int)
        for organization_id, source, event_id, amount in rows:
            earned[organization_id, source, event_id] += amount
        assert dict(earned) == {identity: charge for identity, (charge, _) in self._charges.items()}

    def _wallets(self) -> None:
        spent: dict[str, int] = defaultdict(int)
        for charge, wallet_id in self._charges.values():
            spent[wallet_id] += charge
        rows = self._site.rows("SELECT wallet_id, available, held, receivable FROM wallets")
        found = {row[0]: (row[1], row[2], row[3]) for row in rows}
        expected, funded_by_edges = {}, set()
        for tenant in self._site.tenants:
            for wallet in tenant.wallets.values():
                left = wallet.granted - spent[wallet.wallet_id]
                expected[wallet.wallet_id] = (max(left, 0), 0, max(-left, 0))
                if wallet.user_id != "poor":
                    funded_by_edges.add(wallet.wallet_id)
        assert found == expected
        overspent = {wallet_id for wallet_id in funded_by_edges if found[wallet_id][2]}
        assert not overspent, "an edge spent what was not there"

    def _rollups(self) -> None:
        [[events, charge]] = self._site.rows(
            "SELECT SUM(event_count), SUM(charge) FROM rollups WHERE tag = ''"
        )
        assert (int(events or 0), int(charge or 0)) == (
            len(self._charges),
            sum(charge for charge, _ in self._charges.values()),
        )

    def _queue_is_empty(self) -> bool:
        if self._site.value("SELECT COUNT(*) FROM inbox"):
            return False
        redis = self._site.redis
        return redis is None or redis.client.xlen("om:{events}:stream") == 0

    def _open_leases(self) -> int:
        return self._site.value("SELECT COUNT(*) FROM leases WHERE state <> 'closed'")
