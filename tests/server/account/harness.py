"""Accounts over a database, at a time that the test sets."""

import itertools
from dataclasses import dataclass

from om_server.account.keys.key import KeyWish, NewKey
from om_server.account.operations import AccountOperations
from om_server.account.organization import Team
from om_server.account.store import AccountStore
from om_server.core.ids import IdSource
from om_server.storage.database import Database

START = 1_790_000_000_000_000
SECOND = 1_000_000


@dataclass
class SetClock:
    """A clock that stands still until it is moved."""

    now: int = START

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: int) -> None:
        self.now += seconds * SECOND


def make_operations(database: Database, clock: SetClock) -> AccountOperations:
    numbers = itertools.count(1)

    def random_bytes(count: int) -> bytes:
        return next(numbers).to_bytes(count)

    ids = IdSource(lambda: clock.now // 1000, random_bytes)
    return AccountOperations(
        database, AccountStore(database), ids=ids, clock=clock, random_bytes=random_bytes
    )


def create(accounts: AccountOperations, team: Team, **wish: object) -> NewKey:
    return accounts.create_key(team.organization_id, KeyWish(team.team_id, **wish))  # type: ignore[arg-type] # A table's row.
