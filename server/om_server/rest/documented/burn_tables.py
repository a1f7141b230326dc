"""The /v1/burn-tables operations. Rules never change, so a published change of them is another table."""

from collections.abc import Mapping
from datetime import UTC, datetime

from om.rating.v1 import rating_service_pb2 as pb
from om_server.core.clock import MICROS_PER_SECOND, Clock
from om_server.core.errors import Code, DomainError
from om_server.rest.channel import Server
from om_server.rest.documented.burn_rules import read_rules
from om_server.rest.documented.burn_table_row import BUILT_IN, Tables, read_tables
from om_server.rest.documented.customer_label import customer_label
from om_server.rest.documented.endpoint import Answer, Documented, Handler, Wording
from om_server.rest.documented.idempotency import promised_key
from om_server.rest.documented.json_body import JsonBody, read_json
from om_server.rest.documented.moment import timestamp_of
from om_server.rest.documented.query import Query
from om_server.rest.request import CallContext, Endpoint, Request

_FLAGS: Mapping[str, bool | None] = {"true": True, "false": False}


class CustomerTableEndless(DomainError):
    """A table that is for one customer has no default behind it that could take its place."""

    code = Code.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"

    def __init__(self) -> None:
        super().__init__("A customer's own burn table ends only where another one for the customer begins")


class _BurnTableOperation:
    """What these operations share: the server, and the time."""

    def __init__(self, server: Server, *, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    async def _tables(self, context: CallContext) -> Tables:
        return await read_tables(self._server, now_us=self._clock(), context=context)

    async def _create(self, table: pb.BurnTable, key: str, *, context: CallContext) -> pb.BurnTable:
        asked = pb.CreateBurnTableRequest(burn_table=table, idempotency_key=key)
        reply = await self._server.ask(self._server.rating.CreateBurnTable, asked, context=context)
        return reply.burn_table

    async def _activate(
        self, burn_table_id: str, begin: datetime | None, *, context: CallContext
    ) -> pb.BurnTable:
        """Let a table apply from a time on, or as soon as it may."""
        asked = pb.ActivateBurnTableRequest(
            burn_table_id=burn_table_id,
            effective_time=timestamp_of(begin) if begin is not None else None,
        )
        reply = await self._server.ask(self._server.rating.ActivateBurnTable, asked, context=context)
        return reply.burn_table

    async def _until(self, end: datetime | None, table: pb.BurnTable, *, context: CallContext) -> None:
        """Let a table that applies end at a time, and not before it begins: it would have no end then."""
        if end is not None:
            begin = table.effective_time.ToDatetime(UTC)
            await self._activate(BUILT_IN, max(end, begin), context=context)

    async def _end(self, table: pb.BurnTable, tables: Tables, *, context: CallContext) -> None:
        """Let what applies beside a table apply in its place, as soon as it may.

        One that has not begun keeps its time, at which the later word counts.
        """
        current = tables.current(table.customer_id)
        if current is None or (table.active and table.customer_id):
            raise CustomerTableEndless
        if table.active:
            await self._activate(BUILT_IN, None, context=context)
        else:
            begin = tables.coming_time(table)
            await self._activate(current.burn_table_id, begin, context=context)

    async def _answer(self, status: int, burn_table_id: str, *, context: CallContext) -> Answer:
        tables = await self._tables(context)
        return Answer(status, {"data": tables.body(tables.find(burn_table_id))})


class ListBurnTables(_BurnTableOperation):
    """Every table, newest first; `customerId` and `isActive` narrow the list."""

    async def __call__(self, request: Request) -> Answer:
        query = Query(request.query)
        active = query.choice("isActive", _FLAGS, default=None)
        tables = await self._tables(request.context)
        rows = tables.rows(customer_id=query.text("customerId"), active=active)
        return Answer(200, {"data": rows, "total": len(rows)})


class GetBurnTable(_BurnTableOperation):
    """One table."""

    async def __call__(self, request: Request) -> Answer:
        return await self._answer(200, request.path_parameters["id"], context=request.context)


class GetActiveBurnTable(_BurnTableOperation):
    """The table that decides now: the organization's, or under a customer's id that customer's."""

    async def __call__(self, request: Request) -> Answer:
        named = request.path_parameters.get("customerId", "")
        asked = pb.RateUsageRequest()
        asked.attribution.customer_id = await customer_label(named, self._server, context=request.context)
        # A usage of nothing: its rating names the table that decided.
        asked.lines.add().usage.quantities.add(unit="requests", amount=0, certainty=1)
        reply = await self._server.ask(self._server.rating.RateUsage, asked, context=request.context)
        tables = await self._tables(request.context)
        found = tables.find(reply.rating.burn_table_version)
        return Answer(200, {"data": tables.body(found), "isDefault": found.burn_table_id == BUILT_IN})


class CreateBurnTable(_BurnTableOperation):
    """Adds a table and lets it apply from `validFrom` until `validUntil`."""

    async def __call__(self, request: Request) -> Answer:
        body = await read_json(request)
        table = pb.BurnTable(
            display_name=body.text("name", required=True, least=1), rules=read_rules(body, required=True)
        )
        key, customer_id = promised_key(request, body), body.text("customerId")
        begin, end = _validity(body)
        body.check()
        table.customer_id = await customer_label(customer_id, self._server, context=request.context)
        if end is not None and table.customer_id:
            raise CustomerTableEndless
        stored = await self._create(table, key, context=request.context)
        # What ended before it was written never applies.
        if end is None or end.timestamp() * MICROS_PER_SECOND > self._clock():
            active = await self._activate(stored.burn_table_id, begin, context=request.context)
            await self._until(end, active, context=request.context)
        return await self._answer(201, stored.burn_table_id, context=request.context)


class UpdateBurnTable(_BurnTableOperation):
    """Changes when a table applies. Another name or other rules are another table, which takes its place."""

    async def __call__(self, request: Request) -> Answer:
        body = await read_json(request, required=False)
        rules, name = read_rules(body, required=False), body.text("name", least=1)
        active, key = body.flag("isActive"), promised_key(request, body)
        begin, end = _validity(body)
        body.check()
        tables = await self._tables(request.context)
        before = table = tables.own(request.path_parameters["id"])
        applied = tables.applies(before)
        if end is not None and before.customer_id:
            raise CustomerTableEndless
        if name or body.given("rules"):
            changed = pb.BurnTable(
                display_name=name or before.display_name,
                customer_id=before.customer_id,
                rules=rules if body.given("rules") else before.rules,
            )
            table = await self._create(changed, key, context=request.context)
            # The other takes the place of one that has not begun from its very beginning.
            begin = begin or tables.coming_time(before)
        applies = applied if active is None else active
        if applies and (active or begin is not None or table is not before):
            table = await self._activate(table.burn_table_id, begin, context=request.context)
        if applied and not applies:
            await self._end(before, tables, context=request.context)
        if applies:
            await self._until(end, table, context=request.context)
        return await self._answer(200, table.burn_table_id, context=request.context)


class DeleteBurnTable(_BurnTableOperation):
    """Ends a table, as soon as that may be. One that does not apply stays as it is."""

    async def __call__(self, request: Request) -> Answer:
        tables = await self._tables(request.context)
        table = tables.own(request.path_parameters["id"])
        if tables.applies(table):
            await self._end(table, tables, context=request.context)
        return Answer(200, {"message": "Burn table deactivated successfully"})


def _validity(body: JsonBody) -> tuple[datetime | None, datetime | None]:
    begin, end = body.moment("validFrom"), body.moment("validUntil")
    if begin is not None and end is not None and end <= begin:
        body.refuse("validUntil", "Invalid input: expected a time after validFrom")
    return begin, end


def operations(server: Server, *, clock: Clock) -> Mapping[str, Endpoint]:
    """Name the operations of this family."""

    def documented(handler: Handler, *, plain: bool = False) -> Documented:
        wording = Wording(
            "Failed to proxy request to rating service",
            plain_bad_request=plain,
            missing="Burn table not found",
        )
        return Documented(handler, server, wording=wording)

    active = documented(GetActiveBurnTable(server, clock=clock))
    return {
        "listBurnTables": documented(ListBurnTables(server, clock=clock)),
        "getBurnTable": documented(GetBurnTable(server, clock=clock)),
        "getActiveBurnTable": active,
        "getCustomerActiveBurnTable": active,
        "createBurnTable": documented(CreateBurnTable(server, clock=clock), plain=True),
        "updateBurnTable": documented(UpdateBurnTable(server, clock=clock), plain=True),
        "deleteBurnTable": documented(DeleteBurnTable(server, clock=clock)),
    }
