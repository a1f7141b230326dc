"""An organization's burn tables as the published API shows them."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from om.rating.v1 import rating_service_pb2 as pb
from om_server.core.errors import NotFound
from om_server.rest.channel import Server
from om_server.rest.documented.burn_rules import rules_body
from om_server.rest.documented.moment import iso_text
from om_server.rest.documented.tenant import names_organization, published_id
from om_server.rest.request import CallContext

#: The table behind all others, of 1,000 credits for each dollar.
BUILT_IN = "default"
_PAGE = 200
_EVER = "1970-01-01T00:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables of an organization, newest first, with the built-in one, at a time."""

    organization_id: str
    own_tables: tuple[pb.BurnTable, ...]
    built_in: pb.BurnTable
    now_us: int

    def find(self, burn_table_id: str) -> pb.BurnTable:
        """A table by its id; NOT_FOUND for any other id."""
        return self.built_in if burn_table_id == BUILT_IN else self.own(burn_table_id)

    def own(self, burn_table_id: str) -> pb.BurnTable:
        """One that can be changed, which the built-in one cannot."""
        for table in self.own_tables:
            if table.burn_table_id == burn_table_id:
                return table
        raise NotFound("burn_table", burn_table_id)

    def applies(self, table: pb.BurnTable) -> bool:
        """Whether a table decides now, or will."""
        return table.active or self._coming(table)

    def current(self, customer_id: str) -> pb.BurnTable | None:
        """The table that decides now for the organization, or for a customer; None if that has none."""
        found = (one for one in self.own_tables if one.active and one.customer_id == customer_id)
        return next(found, None if customer_id else self.built_in)

    def coming_time(self, table: pb.BurnTable) -> datetime | None:
        """When a table begins that has not begun; None for any other."""
        return table.effective_time.ToDatetime(UTC) if self._coming(table) else None

    def rows(self, *, customer_id: str, active: bool | None) -> list[dict[str, object]]:
        """The tables that a list shows; the organization's id is for all of them."""
        chosen = "" if names_organization(customer_id, self.organization_id) else customer_id
        return [
            self.body(table)
            for table in self.own_tables
            if chosen in ("", table.customer_id) and active in (None, self.applies(table))
        ]

    def body(self, table: pb.BurnTable) -> dict[str, object]:
        """The published object. A version is another table, so that every one is the first of its own."""
        built_in = table.burn_table_id == BUILT_IN
        created = iso_text(table.create_time) if table.HasField("create_time") else _EVER
        begins = iso_text(table.effective_time) if table.HasField("effective_time") else created
        return {
            "id": table.burn_table_id,
            "customerId": None if built_in else table.customer_id or published_id(self.organization_id),
            "name": table.display_name,
            "version": 1,
            "rules": rules_body(table.rules),
            "isActive": self.applies(table),
            "validFrom": begins,
            "validUntil": iso_text(table.expire_time) if table.HasField("expire_time") else None,
            "createdAt": created,
            "updatedAt": created,
        }

    def _coming(self, table: pb.BurnTable) -> bool:
        return table.HasField("effective_time") and _micros(table) > self.now_us


async def read_tables(server: Server, *, now_us: int, context: CallContext) -> Tables:
    """Read all tables. The published list has no pages."""
    asked = pb.GetBurnTableRequest(burn_table_id=BUILT_IN)
    caller, built_in, own = await asyncio.gather(
        server.caller(context),
        server.ask(server.rating.GetBurnTable, asked, context=context),
        _own_tables(server, context=context),
    )
    return Tables(caller.organization_id, own, built_in.burn_table, now_us)


async def _own_tables(server: Server, *, context: CallContext) -> tuple[pb.BurnTable, ...]:
    found: list[pb.BurnTable] = []
    asked = pb.ListBurnTablesRequest(page_size=_PAGE)
    while True:
        reply = await server.ask(server.rating.ListBurnTables, asked, context=context)
        found.extend(reply.burn_tables)
        asked.page_token = reply.next_page_token
        if not asked.page_token:
            return tuple(found)


def _micros(table: pb.BurnTable) -> int:
    return table.effective_time.ToMicroseconds()
