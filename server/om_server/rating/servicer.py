"""RatingService on the wire: what would this cost. Prices and burn tables are not answered yet."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from om.rating.v1 import rating_service_pb2 as pb
from om.rating.v1 import rating_service_pb2_grpc
from om.type.v1 import money_pb2, unrated_reason_pb2
from om_server.core.errors import DomainError
from om_server.core.money import NANO, round_half_even
from om_server.rating.price import PER_MILLION
from om_server.rpc import convert

if TYPE_CHECKING:
    from collections.abc import Iterable

    import grpc

    from om.type.v1 import event_pb2
    from om_server.core.event import UsageLine
    from om_server.core.money import Money
    from om_server.rating.arithmetic import Component
    from om_server.rating.operations import RatingOperations
    from om_server.rating.rate import RatedLine, Rating, Unrated

#: Decimals of the arithmetic that is shown; those of a rate's own text are at most as many.
_DECIMALS = 18


class RatingServicer(rating_service_pb2_grpc.RatingServiceServicer):
    """Translates between messages and the operations of rating."""

    def __init__(self, operations: RatingOperations) -> None:
        self._operations = operations

    def RateUsage(self, request: pb.RateUsageRequest, context: grpc.ServicerContext) -> pb.RateUsageResponse:
        """Say what a usage would cost and be charged."""
        lines = _lines_from_proto(request.lines)
        at = convert.timestamp_from_proto(request.at_time, "at_time") if request.HasField("at_time") else None
        rating = self._operations.rate_lines(lines, at=at, feature_id=request.attribution.feature_id)
        return pb.RateUsageResponse(rating=rating_to_proto(rating))


def rating_to_proto(rating: Rating) -> pb.Rating:
    """Write a rating; an amount that is not known is absent."""
    causes = [_cause_to_proto(cause) for cause in rating.unrated]
    return pb.Rating(
        cost=_money_to_proto(rating.cost),
        charge=_money_to_proto(rating.charge),
        lines=[_line_to_proto(line) for line in rating.lines],
        burn_table_version=rating.burn_table_version,
        unrated_reason=causes[0].reason if causes else unrated_reason_pb2.UNRATED_REASON_UNSPECIFIED,
        unrated=causes,
    )


def _lines_from_proto(messages: Iterable[event_pb2.UsageLine]) -> list[UsageLine]:
    lines = []
    for index, message in enumerate(messages):
        try:
            lines.append(convert.usage_line_from_proto(message))
        except DomainError as error:
            raise convert.located(error, f"lines[{index}]") from None
    return lines


def _line_to_proto(line: RatedLine) -> pb.RatedLine:
    return pb.RatedLine(
        provider=line.provider,
        model=line.model,
        tier=line.tier,
        price_version=line.price_version,
        context_threshold=line.context_threshold,
        components=[_component_to_proto(component) for component in line.components],
        cost=_money_to_proto(line.cost),
        charge=_money_to_proto(line.charge),
        credits_per_cost=line.credits_per_cost,
        fee=_decimal(line.fee / NANO),
    )


def _component_to_proto(component: Component) -> pb.RatedComponent:
    rate = component.rate
    return pb.RatedComponent(
        unit=component.unit,
        amount=component.amount,
        rate_per_million=_decimal(rate.exact * PER_MILLION / NANO),
        exact_amount=_decimal(component.exact / NANO),
        currency_code=component.currency,
        rate=rate.price,
        rate_steps=rate.per,
        rate_unit=rate.unit if rate.unit != component.unit else "",
        attributes=dict(rate.attributes),
    )


def _cause_to_proto(cause: Unrated) -> pb.UnratedCause:
    return pb.UnratedCause(
        reason=unrated_reason_pb2.UnratedReason.Value(f"UNRATED_REASON_{cause.reason}"),
        line_index=cause.line,
        unit=cause.unit,
        prevents_cost=cause.cost,
        prevents_charge=cause.charge,
    )


def _money_to_proto(amount: Money | None) -> money_pb2.Money | None:
    return None if amount is None else convert.money_to_proto(amount)


def _decimal(amount: Fraction) -> str:
    """Write a non-negative amount as plain decimal text: no exponent, no trailing zeros."""
    scaled = round_half_even(amount.numerator * 10**_DECIMALS, amount.denominator)
    whole, decimals = divmod(scaled, 10**_DECIMALS)
    return f"{whole}.{decimals:0{_DECIMALS}d}".rstrip("0").rstrip(".")
