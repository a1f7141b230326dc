"""RatingService on the wire: what would this cost, what did it cost, and the tariff that decides it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om.rating.v1 import rating_service_pb2 as pb
from om.rating.v1 import rating_service_pb2_grpc
from om_server.core.event import SOURCE_API
from om_server.rating.message import (
    burn_table_from_proto,
    burn_table_to_proto,
    lines_from_proto,
    money_to_proto,
    price_from_proto,
    price_to_proto,
    rating_to_proto,
)
from om_server.rating.past_message import (
    rerate_from_proto,
    rerated_to_proto,
    simulated_to_proto,
    simulation_from_proto,
)
from om_server.rating.price_operations import PriceFilter
from om_server.rpc import convert
from om_server.rpc.blocking import blocking
from om_server.rpc.caller import caller

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import grpc

    from om_server.rating.burn_table_operations import BurnTableOperations
    from om_server.rating.explanation import Explanations
    from om_server.rating.operations import RatingOperations
    from om_server.rating.past import PastEvents
    from om_server.rating.price_operations import PriceOperations
    from om_server.rpc.interceptors import StreamContext

__all__ = ["RatingServicer", "rating_to_proto"]


class RatingServicer(rating_service_pb2_grpc.RatingServiceServicer):
    """Translates between messages and the operations of rating."""

    def __init__(
        self,
        operations: RatingOperations,
        *,
        burn_tables: BurnTableOperations,
        prices: PriceOperations,
        explanations: Explanations,
        past: PastEvents,
    ) -> None:
        self._operations = operations
        self._burn_tables = burn_tables
        self._prices = prices
        self._explanations = explanations
        self._past = past

    def RateUsage(self, request: pb.RateUsageRequest, context: grpc.ServicerContext) -> pb.RateUsageResponse:
        """Say what a usage would cost and be charged."""
        rating = self._operations.rate_lines(
            lines_from_proto(request.lines),
            at=convert.timestamp_from_proto(request.at_time, "at_time")
            if request.HasField("at_time")
            else None,
            organization_id=caller().organization_id,
            attribution=convert.attribution_from_proto(request.attribution),
        )
        return pb.RateUsageResponse(rating=rating_to_proto(rating))

    def ExplainCharge(
        self, request: pb.ExplainChargeRequest, context: grpc.ServicerContext
    ) -> pb.ExplainChargeResponse:
        """Show the arithmetic of a charge that was made."""
        explained = self._explanations.explain(
            caller().organization_id, source=request.source or SOURCE_API, event_id=request.event_id
        )
        return pb.ExplainChargeResponse(
            rating=rating_to_proto(explained.rating),
            at_time=convert.timestamp_to_proto(explained.settled.event_time),
            settled_cost=money_to_proto(explained.settled.cost),
            settled_charge=money_to_proto(explained.settled.charge),
            exact=explained.exact,
        )

    def ListPrices(
        self, request: pb.ListPricesRequest, context: grpc.ServicerContext
    ) -> pb.ListPricesResponse:
        """List prices."""
        at = convert.timestamp_from_proto(request.at_time, "at_time") if request.HasField("at_time") else None
        page = self._prices.list_prices(
            caller().organization_id,
            PriceFilter(request.provider, request.model, at),
            page=convert.page_from_proto(request),
        )
        return pb.ListPricesResponse(
            prices=[price_to_proto(price) for price in page.prices], next_page_token=page.next_page_token
        )

    def CreatePrice(
        self, request: pb.CreatePriceRequest, context: grpc.ServicerContext
    ) -> pb.CreatePriceResponse:
        """Add a price."""
        stored = self._prices.create_price(
            caller().organization_id,
            price_from_proto(request.price),
            idempotency_key=request.idempotency_key,
        )
        return pb.CreatePriceResponse(price=price_to_proto(stored.price))

    def ListBurnTables(
        self, request: pb.ListBurnTablesRequest, context: grpc.ServicerContext
    ) -> pb.ListBurnTablesResponse:
        """List burn tables."""
        page = self._burn_tables.list_burn_tables(
            caller().organization_id,
            customer_id=request.customer_id,
            page=convert.page_from_proto(request),
        )
        return pb.ListBurnTablesResponse(
            burn_tables=[burn_table_to_proto(state) for state in page.tables],
            next_page_token=page.next_page_token,
        )

    def GetBurnTable(
        self, request: pb.GetBurnTableRequest, context: grpc.ServicerContext
    ) -> pb.GetBurnTableResponse:
        """Give one burn table."""
        state = self._burn_tables.get_burn_table(caller().organization_id, request.burn_table_id)
        return pb.GetBurnTableResponse(burn_table=burn_table_to_proto(state))

    def CreateBurnTable(
        self, request: pb.CreateBurnTableRequest, context: grpc.ServicerContext
    ) -> pb.CreateBurnTableResponse:
        """Add a burn table."""
        state = self._burn_tables.create_burn_table(
            caller().organization_id,
            burn_table_from_proto(request.burn_table),
            idempotency_key=request.idempotency_key,
        )
        return pb.CreateBurnTableResponse(burn_table=burn_table_to_proto(state))

    def ActivateBurnTable(
        self, request: pb.ActivateBurnTableRequest, context: grpc.ServicerContext
    ) -> pb.ActivateBurnTableResponse:
        """Let a burn table apply."""
        wish = request.effective_time if request.HasField("effective_time") else None
        state = self._burn_tables.activate_burn_table(
            caller().organization_id,
            request.burn_table_id,
            effective_time=None if wish is None else convert.timestamp_from_proto(wish, "effective_time"),
        )
        return pb.ActivateBurnTableResponse(burn_table=burn_table_to_proto(state))

    async def SimulateBurnTable(
        self, request: pb.SimulateBurnTableRequest, context: StreamContext
    ) -> AsyncGenerator[pb.SimulateBurnTableResponse, None]:
        """Stream what a proposed table would have charged; each page of events is read on a thread."""
        asked, organization_id = simulation_from_proto(request), caller().organization_id
        simulation = self._past.simulate(organization_id, asked)
        while (compared := await blocking(simulation.step)) is not None:
            yield simulated_to_proto(compared)

    def RerateEvents(
        self, request: pb.RerateEventsRequest, context: grpc.ServicerContext
    ) -> pb.RerateEventsResponse:
        """Rate events again."""
        asked, who = rerate_from_proto(request), caller()
        if request.dry_run:
            found = self._past.preview(who.organization_id, asked)
        else:
            found = self._past.rerate(
                who.organization_id,
                asked,
                actor=who.key_id or who.member_id,
                in_time=_in_time(context.time_remaining),
            )
        return rerated_to_proto(found, dry_run=request.dry_run)


def _in_time(remaining: Callable[[], float | None]) -> Callable[[], bool]:
    """Ask whether the deadline of a call is still to come, if it has one; the published type forgets None."""
    return lambda: (left := remaining()) is None or left > 0
