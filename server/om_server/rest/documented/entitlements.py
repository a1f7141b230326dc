"""The /v1/entitlements operations: limits as published, in credits."""

import re
from collections.abc import Mapping

from om.wallet.v1 import entitlement_service_pb2 as pb
from om_server.core.errors import NotFound
from om_server.rest.channel import Server
from om_server.rest.documented.customer_label import customer_label
from om_server.rest.documented.endpoint import Answer, Documented, Handler, Wording
from om_server.rest.documented.entitlement_check import CheckEntitlement
from om_server.rest.documented.entitlement_row import (
    CREDITS,
    LIMIT_TYPES,
    NAMED_TOTAL_ZONE,
    PERIODS,
    all_entitlements,
    feature_row,
    row,
    short_body,
)
from om_server.rest.documented.idempotency import promised_key
from om_server.rest.documented.json_body import JsonBody, read_json
from om_server.rest.request import Endpoint, Request

_ID = re.compile(r"ent_[0-9a-z]{26}")


class CreateEntitlement:
    """Creates a limit. Two of the same content are two limits."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        body = await read_json(request)
        limit = pb.Entitlement(
            feature_id=body.text("featureId", required=True),
            user_id=body.text("userId", least=1),
            unit=CREDITS,
        )
        fill_terms(limit, body, creating=True)
        key, customer_id = promised_key(request, body), body.text("customerId")
        body.check()
        limit.customer_id = await customer_label(customer_id, self._server, context=request.context)
        reply = await self._server.ask(
            self._server.entitlements.CreateEntitlement,
            pb.CreateEntitlementRequest(entitlement=limit, idempotency_key=key),
            context=request.context,
        )
        return Answer(201, {"data": short_body(reply.entitlement)})


class UpdateEntitlement:
    """Changes what the body names; the rest stays."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        body = await read_json(request, required=False)
        entitlement_id = await _entitlement_id(request, self._server)
        found = await self._server.ask(
            self._server.entitlements.GetEntitlement,
            pb.GetEntitlementRequest(entitlement_id=entitlement_id),
            context=request.context,
        )
        limit = found.entitlement
        fill_terms(limit, body, creating=False)
        body.check()
        reply = await self._server.ask(
            self._server.entitlements.UpdateEntitlement,
            pb.UpdateEntitlementRequest(entitlement_id=entitlement_id, entitlement=limit),
            context=request.context,
        )
        return Answer(200, {"data": short_body(reply.entitlement)})


class DeleteEntitlement:
    """Deletes a limit; 404 if there is none."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        entitlement_id = await _entitlement_id(request, self._server)
        await self._server.ask(
            self._server.entitlements.DeleteEntitlement,
            pb.DeleteEntitlementRequest(entitlement_id=entitlement_id),
            context=request.context,
        )
        return Answer(204, {})


class ListEntitlements:
    """Every limit with what is used of it."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        found = await all_entitlements(self._server, context=request.context)
        return Answer(200, {"data": [row(limit) for limit in found]})


class ListCustomerEntitlements:
    """The list that the Python client reads: the organization's own under its id, else a customer's."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        found = await all_entitlements(self._server, context=request.context)
        named = request.path_parameters["customerId"]
        customer_id = await customer_label(named, self._server, context=request.context)
        shown = [limit for limit in found if not customer_id or limit.customer_id == customer_id]
        return Answer(200, {"data": [feature_row(limit) for limit in shown]})


async def _entitlement_id(request: Request, server: Server) -> str:
    """The id of the path; NOT_FOUND for what the server would call malformed, since nothing has that id."""
    entitlement_id = request.path_parameters["id"]
    if not _ID.fullmatch(entitlement_id):
        await server.confirm_credential(request.context)
        raise NotFound("entitlement", entitlement_id)
    return entitlement_id


def fill_terms(limit: pb.Entitlement, body: JsonBody, *, creating: bool) -> None:
    """Put what the body names into the limit. Null takes a number or a period away, and 0 is a number."""
    kind = body.choice("limitType", LIMIT_TYPES, required=creating)
    if kind is not None:
        limit.type = kind
    if body.given("limitValue"):
        limit.ClearField("limit_value")
        if limit.unit != CREDITS:
            body.refuse(
                "limitValue", f"Invalid input: this limit counts {limit.unit}, see /api/v1/entitlements"
            )
        elif (value := body.nanos("limitValue", least=0)) is not None:
            limit.limit_value = value
    if body.given("period"):
        period = body.choice("period", PERIODS)
        limit.window = period or pb.LIMIT_WINDOW_TOTAL
        limit.time_zone = NAMED_TOTAL_ZONE if period == pb.LIMIT_WINDOW_TOTAL else ""
        limit.rolling_hours = 0
    if body.given("metadata"):
        limit.ClearField("metadata")
        if (metadata := body.struct("metadata")) is not None:
            limit.metadata.CopyFrom(metadata)


def operations(server: Server) -> Mapping[str, Endpoint]:
    """Name the operations of this family."""

    def documented(handler: Handler, failure: str) -> Documented:
        wording = Wording(f"Failed to {failure}", missing="Entitlement not found")
        return Documented(handler, server, wording=wording)

    return {
        "checkEntitlement": documented(CheckEntitlement(server), "check entitlement"),
        "createEntitlement": documented(CreateEntitlement(server), "create entitlement"),
        "updateEntitlement": documented(UpdateEntitlement(server), "update entitlement"),
        "deleteEntitlement": documented(DeleteEntitlement(server), "delete entitlement"),
        "listEntitlements": documented(ListEntitlements(server), "fetch entitlements"),
        "listCustomerEntitlements": documented(ListCustomerEntitlements(server), "fetch entitlements"),
    }
