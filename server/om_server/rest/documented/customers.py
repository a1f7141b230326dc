"""The /v1/customers operations: the published API calls an organization a customer."""

from collections.abc import Mapping

from starlette.responses import Response

from om.account.v1 import account_service_pb2 as account_pb
from om.account.v1 import registration_service_pb2 as registration_pb
from om_server.rest.channel import Server
from om_server.rest.documented.endpoint import Answer, Documented, Wording
from om_server.rest.documented.json_body import JsonBody, read_json
from om_server.rest.documented.moment import iso_text
from om_server.rest.documented.tenant import published_id
from om_server.rest.request import Endpoint, Request
from om_server.rest.response import json_response

TIERS = {
    "STARTER": registration_pb.TIER_STARTER,
    "GROWTH": registration_pb.TIER_GROWTH,
    "ENTERPRISE": registration_pb.TIER_ENTERPRISE,
}
_EMAIL_MAX = 254


class RegisterCustomer:
    """Creates an organization with its key, for anybody who asks. No wallet is created."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        wish = read_registration(await read_json(request))
        # A credential that came along has no say, and a broken one must not fail the call.
        nobody = request.context.acting_as("")
        reply = await self._server.ask(self._server.registration.RegisterOrganization, wish, context=nobody)
        return Answer(201, registration_body(reply))


class GetCustomer:
    """The caller's own organization."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        reply = await self._server.ask(
            self._server.registration.GetRegistration,
            registration_pb.GetRegistrationRequest(),
            context=request.context,
        )
        return Answer(200, customer_body(reply.registration))


class RotateKey:
    """Replaces the key that the request came with; the old one ends at once."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        caller = await self._server.caller(request.context)
        reply = await self._server.ask(
            self._server.account.RotateKey,
            account_pb.RotateKeyRequest(key_id=caller.key_id),
            context=request.context,
        )
        return Answer(200, {"data": {"apiKey": reply.secret}})


async def google_sign_in_is_gone(_request: Request) -> Response:
    """Nobody gets a key for naming an address, whatever the body says."""
    message = (
        "This operation gave a customer's key to anybody who knew the address, and is gone. "
        "Sign in with OpenID Connect, or register with POST /v1/customers/register"
    )
    return json_response(410, {"error": "Gone", "message": message})


def read_registration(body: JsonBody) -> registration_pb.RegisterOrganizationRequest:
    """The name, the address and the plan; the server judges the address again."""
    email = body.text("email", required=True, most=_EMAIL_MAX)
    local, _, host = email.partition("@")
    if email and not (local and host):
        body.refuse("email", "Invalid email address")
    wish = registration_pb.RegisterOrganizationRequest(
        display_name=body.text("name", required=True, least=1),
        email=email,
        tier=body.choice("tier", TIERS) or registration_pb.TIER_STARTER,
    )
    body.check()
    return wish


def registration_body(reply: registration_pb.RegisterOrganizationResponse) -> dict[str, object]:
    """The new organization; its key is shown here and never again."""
    registration = reply.registration
    return {
        "data": {
            "customerId": published_id(registration.organization.organization_id),
            "apiKey": reply.secret,
            "name": registration.organization.display_name,
            "email": registration.email,
            "tier": tier_text(registration.tier),
            "createdAt": iso_text(registration.organization.create_time),
        }
    }


def customer_body(registration: registration_pb.Registration) -> dict[str, object]:
    """The published profile. Who did not register has no address; who may ask is active."""
    organization = registration.organization
    return {
        "data": {
            "id": published_id(organization.organization_id),
            "name": organization.display_name,
            "email": registration.email or None,
            "tier": tier_text(registration.tier),
            "status": "ACTIVE",
            "createdAt": iso_text(organization.create_time),
        }
    }


def tier_text(tier: "registration_pb.Tier.ValueType") -> str:
    """The published name."""
    return registration_pb.Tier.Name(tier).removeprefix("TIER_")


def operations(server: Server) -> Mapping[str, Endpoint]:
    """Name the operations of this family."""
    registering = Wording(
        "Failed to register customer",
        plain_bad_request=True,
        sentences={"ALREADY_EXISTS": "A customer with this email already exists"},
    )
    profile = Wording("Failed to fetch customer profile", missing="Customer not found")
    rotating = Wording("Failed to rotate API key")
    return {
        "registerCustomer": Documented(RegisterCustomer(server), server, wording=registering, anonymous=True),
        "getCustomer": Documented(GetCustomer(server), server, wording=profile),
        "rotateCustomerKey": Documented(RotateKey(server), server, wording=rotating),
        "signInWithGoogle": google_sign_in_is_gone,
    }
