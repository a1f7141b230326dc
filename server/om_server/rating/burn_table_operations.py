"""What an organization may do with burn tables. Every operation is one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from om_server.core.audit import AuditEntry, moment
from om_server.core.errors import NotFound, PageTokenInvalid
from om_server.core.page import PageRequest, decode_token, encode_token
from om_server.rating.burn_table import DEFAULT_VERSION, burn_table
from om_server.rating.burn_table_file import FiledTable, read_burn_tables
from om_server.rating.facts import burn_table_facts
from om_server.rating.onset import table_onset
from om_server.rating.rule_text import write_rules
from om_server.rating.stored import (
    BurnTableDraft,
    Request,
    StoredActivation,
    StoredBurnTable,
    content_hash,
)
from om_server.rpc.caller import actor
from om_server.storage.audit import AuditTrail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from om_server.core.clock import Clock
    from om_server.core.ids import IdSource
    from om_server.rating.store import TariffStore
    from om_server.rating.tariff_source import StoredTariffs
    from om_server.storage.database import Database


@dataclass(frozen=True, slots=True)
class BurnTableState:
    """A burn table and when it applies; `effective_time` is None while it was never activated.

    `expire_time` is when another one takes its place, None where none is written to.
    """

    table: StoredBurnTable
    active: bool = False
    effective_time: int | None = None
    expire_time: int | None = None


@dataclass(frozen=True, slots=True)
class BurnTablePage:
    """Burn tables, newest first. An empty token is the end."""

    tables: tuple[BurnTableState, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class AppliedTable:
    """A table of a file, and from when it applies. It is unchanged if it was applied last before."""

    table: StoredBurnTable
    effective_time: int
    changed: bool


class _DryRun(Exception):
    def __init__(self, applied: tuple[AppliedTable, ...]) -> None:
        super().__init__()
        self.applied = applied


class BurnTableOperations:
    """Burn tables of any organization, one at a time."""

    def __init__(
        self, database: Database, store: TariffStore, *, tariffs: StoredTariffs, ids: IdSource, clock: Clock
    ) -> None:
        self._database = database
        self._store = store
        self._tariffs = tariffs
        self._ids = ids
        self._clock = clock
        self._trail = AuditTrail(database, ids=ids, clock=clock, actor=actor)

    def create_burn_table(
        self, organization_id: str, draft: BurnTableDraft, *, idempotency_key: str
    ) -> BurnTableState:
        """Store a table, which applies to nobody until it is activated. A repeat gives the same table."""
        content = (draft.display_name, draft.customer_id, write_rules(draft.rules))
        request = Request(idempotency_key, content_hash(*content))

        def write() -> StoredBurnTable:
            self._store.lock(organization_id)
            found = self._store.burn_table_of(organization_id, request)
            return found or self.add_burn_table(organization_id, draft, request)

        return BurnTableState(self._database.write(write))

    def add_burn_table(
        self, organization_id: str, draft: BurnTableDraft, request: Request
    ) -> StoredBurnTable:
        """Store a table within the caller's transaction, which has locked the tariff."""
        table = StoredBurnTable(
            burn_table_id=self._ids.new("brn"),
            display_name=draft.display_name,
            customer_id=draft.customer_id,
            rules=draft.rules,
            create_time=self._clock(),
        )
        self._store.add_burn_table(organization_id, table, request)
        after = burn_table_facts(table)
        entry = AuditEntry("CreateBurnTable", "burn_table", table.burn_table_id, after=after)
        self._trail.record(organization_id, entry)
        return table

    def get_burn_table(self, organization_id: str, burn_table_id: str) -> BurnTableState:
        """Return a table by its id; `default` is the built-in one. NOT_FOUND for any other's."""

        def read() -> BurnTableState:
            table = self._stored(organization_id, burn_table_id)
            return self._state(table, self._store.activations(organization_id))

        return self._database.read(read)

    def list_burn_tables(
        self, organization_id: str, *, customer_id: str = "", page: PageRequest
    ) -> BurnTablePage:
        """List tables, newest first; of one customer where one is named."""
        arguments = {"list": "burn_tables", "customer_id": customer_id}
        cursor = decode_token(page.token, arguments) or ("",)
        before = cursor[0]
        if not isinstance(before, str) or len(cursor) != 1:
            raise PageTokenInvalid

        def read() -> BurnTablePage:
            found = self._store.page_burn_tables(
                organization_id, customer_id=customer_id, before=before, limit=page.size + 1
            )
            activations = self._store.activations(organization_id)
            shown = tuple(self._state(table, activations) for table in found[: page.size])
            more = len(found) > page.size
            token = encode_token((shown[-1].table.burn_table_id,), arguments) if more else ""
            return BurnTablePage(shown, token)

        return self._database.read(read)

    def activate_burn_table(
        self, organization_id: str, burn_table_id: str, *, effective_time: int | None = None
    ) -> BurnTableState:
        """Let a table apply from a time on, or as soon as it may; the answer says from when it does.

        What applies at that time already is left as it is.
        """

        def write() -> BurnTableState:
            self._store.lock(organization_id)
            table = self._stored(organization_id, burn_table_id)
            self.activate(organization_id, table, wish=effective_time)
            return self._state(table, self._store.activations(organization_id))

        return self._database.write(write)

    def activate(self, organization_id: str, table: StoredBurnTable, *, wish: int | None) -> int:
        """Activate in the caller's transaction, which has locked the tariff; return from when it applies."""
        now, customer = self._clock(), table.customer_id
        self._tariffs.forget()
        tariff = self._tariffs.tariff(organization_id)
        onset = table_onset(
            burn_table(table.burn_table_id, table.rules),
            wish=wish,
            now=now,
            in_force=lambda since, until: tariff.burn_tables(customer, since, until),
        )
        found = tariff.timeline(customer).at(onset)
        if found is not None and found.burn_table_id == table.burn_table_id:
            return found.effective_time
        activation = StoredActivation(self._ids.new("act"), customer, table.burn_table_id, onset)
        self._store.add_activation(organization_id, activation, now=now)
        entry = AuditEntry(
            "ActivateBurnTable",
            "burn_table",
            table.burn_table_id,
            before={"burn_table_id": found.burn_table_id if found else ""},
            after={
                "burn_table_id": table.burn_table_id,
                "customer_id": customer,
                "effective_time": moment(onset),
            },
        )
        self._trail.record(organization_id, entry)
        self._store.advance(organization_id, self._ids.new("trf"))
        self._tariffs.forget()
        return onset

    def apply_file(
        self, organization_id: str, text: str, *, dry_run: bool = False
    ) -> tuple[AppliedTable, ...]:
        """Store and activate the tables of a `burntable.json`, all or none; a repeat changes nothing.

        A dry run answers the same and writes nothing. RulesInvalid has every flaw of the file.
        """
        filed = read_burn_tables(text)

        def write() -> tuple[AppliedTable, ...]:
            self._store.lock(organization_id)
            applied = tuple(self._apply(organization_id, one) for one in filed)
            if dry_run:
                raise _DryRun(applied)
            return applied

        try:
            return self._database.write(write)
        except _DryRun as done:
            return done.applied

    def _apply(self, organization_id: str, filed: FiledTable) -> AppliedTable:
        draft = filed.draft
        scope = [
            found
            for found in self._store.activations(organization_id)
            if found.customer_id == draft.customer_id
        ]
        if scope:
            last = self._stored(organization_id, scope[-1].burn_table_id)
            if (last.display_name, last.rules) == (draft.display_name, draft.rules):
                return AppliedTable(last, scope[-1].effective_time, changed=False)
        # A file that goes back to what it said before finds its table again.
        content = content_hash(draft.display_name, draft.customer_id, write_rules(draft.rules))
        request = Request(f"file {content}", content)
        table = self._store.burn_table_of(organization_id, request) or self.add_burn_table(
            organization_id, draft, request
        )
        onset = self.activate(organization_id, table, wish=filed.effective_time)
        return AppliedTable(table, onset, changed=True)

    def stored_table(self, organization_id: str, burn_table_id: str) -> StoredBurnTable:
        """Return a table without the times when it applies; NOT_FOUND as for `get_burn_table`."""
        return self._database.read(lambda: self._stored(organization_id, burn_table_id))

    def _stored(self, organization_id: str, burn_table_id: str) -> StoredBurnTable:
        if burn_table_id == DEFAULT_VERSION:
            return StoredBurnTable(DEFAULT_VERSION, "1,000 credits for each dollar", "", (), None)
        found = self._store.find_burn_table(organization_id, burn_table_id)
        if found is None:
            raise NotFound("burn_table", burn_table_id)
        return found

    def _state(self, table: StoredBurnTable, activations: Sequence[StoredActivation]) -> BurnTableState:
        now = self._clock()
        scope = [found for found in activations if found.customer_id == table.customer_id]
        # Of two for one time the later written counts: what was called off is not coming.
        held = {found.effective_time: found.burn_table_id for found in scope}
        begun = [time for time in held if time <= now]
        current = held[begun[-1]] if begun else "" if table.customer_id else DEFAULT_VERSION
        own = [time for time, burn_table_id in held.items() if burn_table_id == table.burn_table_id]
        past = [time for time in own if time <= now]
        active = current == table.burn_table_id
        # What comes next matters more than what ended.
        coming = [time for time in own if time > now]
        times = past[-1:] if active else coming[:1] or past[-1:]
        since = times[0] if times else None
        # The built-in table may apply without ever having been activated.
        begin = now if active else since
        later = [] if begin is None else [time for time in held if time > begin]
        ends = next((time for time in later if held[time] != table.burn_table_id), None)
        return BurnTableState(table, active, since, ends)
