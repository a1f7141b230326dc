"""The /v1/admin operations: all organizations, for whoever runs the installation. Off without a token.

The token is checked here, and the server is asked with the credential of our own processes: no tenant's
credential ever reaches what these operations call.
"""

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException

from om.account.v1 import admin_service_pb2 as pb
from om.account.v1 import registration_service_pb2 as registration_pb
from om_server.core.errors import Code, DomainError, NotFound
from om_server.core.ids import id_from_uuid
from om_server.rest.channel import Server
from om_server.rest.documented.customers import TIERS
from om_server.rest.documented.endpoint import Answer, Documented, Wording
from om_server.rest.documented.installation import (
    STATUSES,
    detail_body,
    organizations_body,
    stats_body,
    summary_row,
)
from om_server.rest.documented.page_window import read_window
from om_server.rest.documented.query import Query
from om_server.rest.request import CallContext, Endpoint, Request

_ID = re.compile(r"org_[0-9a-z]{26}")
_RECENT_MAX = 5


class SuperAdminRequired(DomainError):
    """Another credential than the installation's own; the sentence is the published one."""

    code = Code.PERMISSION_DENIED
    reason = "ACCESS_DENIED"

    def __init__(self) -> None:
        super().__init__("Super admin access required")


@dataclass(frozen=True, slots=True)
class AdminAccess:
    """What opens these operations, and what the server is then asked with."""

    token: str = field(repr=False)
    service_token: str = field(repr=False)

    def context(self, given: CallContext) -> CallContext:
        """The context of our own process, if the right token was given."""
        given.require_credential()
        # compare_digest takes text only if it is ASCII, so bytes.
        if not hmac.compare_digest(given.credential.encode(), self.token.encode()):
            raise SuperAdminRequired
        return given.acting_as(self.service_token)


Handler = Callable[[Request, CallContext], Awaitable[Answer]]


class Guarded:
    """A handler behind the token; without one the path is unknown, as any other."""

    def __init__(self, handler: Handler, access: AdminAccess | None) -> None:
        self._handler = handler
        self._access = access

    async def __call__(self, request: Request) -> Answer:
        if self._access is None:
            raise HTTPException(404)
        return await self._handler(request, self._access.context(request.context))


class AdminOperations:
    """The handlers of this family."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def me(self, _request: Request, _context: CallContext) -> Answer:
        """Tell that the token is right; it is nobody's own, so that it has no name."""
        return Answer(200, {"data": {"isSuperAdmin": True, "email": None, "name": None}})

    async def stats(self, _request: Request, context: CallContext) -> Answer:
        """Everything counted, and the newest organizations."""
        found = await self._server.ask(
            self._server.admin.GetInstallation, pb.GetInstallationRequest(), context=context
        )
        newest = await self._server.ask(
            self._server.admin.ListOrganizations,
            pb.ListOrganizationsRequest(page_size=_RECENT_MAX),
            context=context,
        )
        return Answer(200, stats_body(found, newest.organizations))

    async def list_organizations(self, request: Request, context: CallContext) -> Answer:
        """One page by limit and offset."""
        query = Query(request.query)
        window = read_window(query)
        tiers = {word.lower(): value for word, value in TIERS.items()}
        wanted = pb.ListOrganizationsRequest(
            page_size=window.limit,
            skip=window.offset,
            search=query.text("search"),
            tier=query.choice("tier", tiers, default=registration_pb.TIER_UNSPECIFIED),
            status=query.choice("status", STATUSES, default=pb.ORGANIZATION_STATUS_UNSPECIFIED),
        )
        reply = await self._server.ask(self._server.admin.ListOrganizations, wanted, context=context)
        return Answer(200, organizations_body(reply, window))

    async def get_organization(self, request: Request, context: CallContext) -> Answer:
        """One organization with how much it used."""
        reply = await self._server.ask(
            self._server.admin.GetOrganizationSummary,
            pb.GetOrganizationSummaryRequest(organization_id=_organization_id(request)),
            context=context,
        )
        return Answer(200, detail_body(reply))

    async def suspend(self, request: Request, context: CallContext) -> Answer:
        """Refuse the keys and sessions of an organization."""
        reply = await self._server.ask(
            self._server.admin.SuspendOrganization,
            pb.SuspendOrganizationRequest(organization_id=_organization_id(request)),
            context=context,
        )
        return Answer(200, {"data": summary_row(reply.organization)})

    async def activate(self, request: Request, context: CallContext) -> Answer:
        """Let them in again."""
        reply = await self._server.ask(
            self._server.admin.ActivateOrganization,
            pb.ActivateOrganizationRequest(organization_id=_organization_id(request)),
            context=context,
        )
        return Answer(200, {"data": summary_row(reply.organization)})


def _organization_id(request: Request) -> str:
    """The id of the path, which may be the published one; NOT_FOUND for what is no id."""
    named = request.path_parameters["customerId"]
    if _ID.fullmatch(named):
        return named
    try:
        return id_from_uuid("org", named)
    except ValueError:
        raise NotFound("organization", named) from None


def operations(server: Server, access: AdminAccess | None) -> Mapping[str, Endpoint]:
    """Name the operations of this family."""
    family = AdminOperations(server)
    wording = Wording("Failed to fetch customers", missing="Customer not found")
    changing = Wording("Failed to update customer", missing="Customer not found")

    def documented(handler: Handler, words: Wording = wording) -> Documented:
        # Authentication is the guard's: no key of a tenant has a say here.
        return Documented(Guarded(handler, access), server, wording=words, anonymous=True)

    return {
        "getAdminIdentity": documented(family.me),
        "getAdminStats": documented(family.stats),
        "listAdminCustomers": documented(family.list_organizations),
        "getAdminCustomer": documented(family.get_organization),
        "suspendCustomer": documented(family.suspend, changing),
        "activateCustomer": documented(family.activate, changing),
    }
