"""When keys were last used: kept when events settle, and at most once a minute when a key signs a call."""

from collections.abc import Iterable

from om_server.account.keys.key import KeyUse
from om_server.account.store import AccountStore
from om_server.core.clock import MICROS_PER_SECOND
from om_server.core.errors import DependencyUnavailable
from om_server.storage.database import Database

#: How far behind the last call the time of a key may be that reports nothing.
STEP = 60 * MICROS_PER_SECOND

#: How many keys are remembered; with more, all are written once more.
_REMEMBERED_MAX = 100_000


class UseBook:
    """Writes uses of keys of any organization. A later time replaces an earlier one, never the other way."""

    def __init__(self, database: Database, store: AccountStore) -> None:
        self._database = database
        self._store = store
        self._written: dict[str, int] = {}

    def note_call(self, organization_id: str, use: KeyUse) -> None:
        """Keep that a key signed a call, unless that was kept within the last minute.

        A database that cannot write now costs nobody his call: the next one tries again.
        """
        if use.time < self._written.get(use.key_id, -STEP) + STEP:
            return
        try:
            self._database.write(lambda: self._store.note_uses(organization_id, [use]))
        except DependencyUnavailable:
            return
        if len(self._written) >= _REMEMBERED_MAX:
            self._written.clear()
        self._written[use.key_id] = use.time

    def note_events(self, organization_id: str, uses: Iterable[KeyUse]) -> None:
        """Keep the times of events, within the transaction that settles them; some have no key.

        In the order of the keys, so that two settlers never wait for each other.
        """
        newest: dict[str, int] = {}
        for use in uses:
            if use.key_id:
                newest[use.key_id] = max(use.time, newest.get(use.key_id, 0))
        last = [KeyUse(key_id, time) for key_id, time in sorted(newest.items())]
        self._database.write(lambda: self._store.note_uses(organization_id, last))
