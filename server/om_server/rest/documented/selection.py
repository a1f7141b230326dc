"""Which events a documented read is about, from its query."""

from om.analytics.v1.analytics_service_pb2 import EventFilter
from om_server.rest.channel import Server
from om_server.rest.documented.moment import write_timestamp
from om_server.rest.documented.query import Query
from om_server.rest.documented.tenant import names_organization
from om_server.rest.request import CallContext


async def read_filter(query: Query, server: Server, *, context: CallContext) -> EventFilter:
    """The filter that the query asks for; everything of the organization if it asks for nothing.

    The published API calls the organization the customer, so its own id selects no customer.
    """
    chosen = EventFilter(
        providers=query.texts("provider"),
        models=query.texts("model"),
        feature_ids=query.texts("featureId"),
        user_ids=query.texts("userId"),
    )
    if start := query.start("startDate"):
        write_timestamp(start, chosen.start_time)
    if end := query.end("endDate"):
        write_timestamp(end, chosen.end_time)
    if customer_id := query.text("customerId"):
        caller = await server.caller(context)
        if not names_organization(customer_id, caller.organization_id):
            chosen.customer_ids.append(customer_id)
    return chosen
