"""GET /v1/analytics/summary: what there is, what happened ever and lately, and the newest events."""

import asyncio
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from om.analytics.v1 import analytics_service_pb2 as analytics_pb
from om.wallet.v1 import wallet_service_pb2 as wallet_pb
from om_server.rest.channel import Server
from om_server.rest.documented.cost_breakdown import figures
from om_server.rest.documented.customer_label import customer_label
from om_server.rest.documented.endpoint import Answer
from om_server.rest.documented.figure import exact
from om_server.rest.documented.moment import iso_text
from om_server.rest.documented.published_event import event_type_text
from om_server.rest.documented.query import Query
from om_server.rest.documented.tenant import wallet_owner
from om_server.rest.documented.usage_sum import UsageSum, total
from om_server.rest.request import CallContext, Request

_RECENT = 10
#: Since ever: a range without a start would be the last 30 days.
_EVER = Timestamp(seconds=0)


@dataclass(frozen=True, slots=True)
class Activity:
    """What the summary is made of."""

    wallet: wallet_pb.Wallet
    transactions: int
    ever: UsageSum
    month: UsageSum
    recent: tuple[analytics_pb.Event, ...]


class GetSummary:
    """The organization's own wallet and all its events, or those of one customer."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def __call__(self, request: Request) -> Answer:
        named = request.path_parameters.get("customerId") or Query(request.query).text("customerId")
        customer_id = await customer_label(named, self._server, context=request.context)
        body = summary_body(await self._read(customer_id, context=request.context))
        # As the other analytics have it, and as it was published: the same once more under `data`.
        return Answer(200, body | {"data": body})

    async def _read(self, customer_id: str, *, context: CallContext) -> Activity:
        server, owner = self._server, wallet_owner("", customer_id=customer_id)
        customers = [customer_id] if customer_id else []
        ever = analytics_pb.EventFilter(customer_ids=customers, start_time=_EVER)
        month = analytics_pb.EventFilter(customer_ids=customers)
        usage, events = server.analytics.QueryUsage, server.analytics.ListEvents
        listed = analytics_pb.ListEventsRequest(filter=ever, page_size=_RECENT)
        history = wallet_pb.ListTransactionsRequest(owner=owner, page_size=1)
        wallet, transactions, by_ever, by_month, recent = await asyncio.gather(
            server.ask(server.wallet.GetWallet, wallet_pb.GetWalletRequest(owner=owner), context=context),
            server.ask(server.wallet.ListTransactions, history, context=context),
            server.ask(usage, analytics_pb.QueryUsageRequest(filter=ever), context=context),
            server.ask(usage, analytics_pb.QueryUsageRequest(filter=month), context=context),
            server.ask(events, listed, context=context),
        )
        return Activity(
            wallet.wallet,
            transactions.total_size,
            ever=total(by_ever.rows),
            month=total(by_month.rows),
            recent=tuple(recent.events),
        )


def summary_body(activity: Activity) -> dict[str, object]:
    """Numbers throughout. Events of the sandbox are in no sum, and in the newest events."""
    wallet = activity.wallet
    return {
        "creditBalance": {
            "available": exact(wallet.available.amount_nanos),
            "reserved": exact(wallet.held.amount_nanos),
        },
        "lifetime": {"totalEvents": activity.ever.events, "totalTransactions": activity.transactions},
        "last30Days": {"eventCount": activity.month.events} | figures(activity.month),
        "recentActivity": [recent_event(event) for event in activity.recent],
    }


def recent_event(settled: analytics_pb.Event) -> dict[str, object]:
    """One of the newest events; what waits for a price has no credits, which is not zero."""
    event = settled.event
    first = event.lines[0] if event.lines else None
    rated = settled.state != analytics_pb.RATING_STATE_UNRATED
    return {
        "id": event.event_id,
        "eventType": event_type_text(event.type),
        "featureId": event.attribution.feature_id,
        "provider": (first.provider.upper() or None) if first else None,
        "model": (first.model or None) if first else None,
        "creditsBurned": exact(settled.charge.amount_nanos) if rated else None,
        "timestamp": iso_text(event.occur_time),
    }
