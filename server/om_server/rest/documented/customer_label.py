"""The customer that a request names, as a label of usage."""

from om_server.rest.channel import Server
from om_server.rest.documented.tenant import names_organization
from om_server.rest.request import CallContext


async def customer_label(customer_id: str, server: Server, *, context: CallContext) -> str:
    """The label; empty where the id is the organization's own, or none."""
    if not customer_id:
        return ""
    caller = await server.caller(context)
    return "" if names_organization(customer_id, caller.organization_id) else customer_id
