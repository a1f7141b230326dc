"""RatingService on the wire: what would this cost. Prices and burn tables are not answered yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om.rating.v1 import rating_service_pb2 as pb
from om.rating.v1 import rating_service_pb2_grpc
from om.type.v1 import error_reason_pb2, money_pb2
from om_server.rpc import convert

if TYPE_CHECKING:
    import grpc

    from om_server.core.money import Money
    from om_server.rating.operations import RatingOperations
    from om_server.rating.rate import RatedLine, Rating


class RatingServicer(rating_service_pb2_grpc.RatingServiceServicer):
    """Translates between messages and the operations of rating."""

    def __init__(self, operations: RatingOperations) -> None:
        self._operations = operations

    def RateUsage(self, request: pb.RateUsageRequest, context: grpc.ServicerContext) -> pb.RateUsageResponse:
        """Say what a usage would cost and be charged."""
        lines = [convert.usage_line_from_proto(line) for line in request.lines]
        at = convert.timestamp_from_proto(request.at_time, "at_time") if request.HasField("at_time") else None
        rating = self._operations.rate_lines(lines, at=at, feature_id=request.attribution.feature_id)
        return pb.RateUsageResponse(rating=rating_to_proto(rating))


def rating_to_proto(rating: Rating) -> pb.Rating:
    """Write a rating; an amount that is not known is absent."""
    unknown = error_reason_pb2.ERROR_REASON_PRICE_UNKNOWN
    return pb.Rating(
        cost=_money(rating.cost),
        charge=_money(rating.charge),
        lines=[_line(line) for line in rating.lines],
        burn_table_version=rating.burn_table_version,
        unrated_reason=unknown if rating.unrated else error_reason_pb2.ERROR_REASON_UNSPECIFIED,
    )


def _line(line: RatedLine) -> pb.RatedLine:
    return pb.RatedLine(
        provider=line.provider,
        model=line.model,
        tier=line.tier,
        price_version=line.price_version,
        context_threshold=line.context_threshold,
        cost=_money(line.cost),
        charge=_money(line.charge),
    )


def _money(amount: Money | None) -> money_pb2.Money | None:
    return None if amount is None else convert.money_to_proto(amount)
