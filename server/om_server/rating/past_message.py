"""Translations between the messages about past events and the values of rating."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om.rating.v1 import rating_service_pb2 as pb
from om.type.v1 import money_pb2
from om_server.core.money import CREDITS, USD, Money
from om_server.rating.message import burn_table_from_proto
from om_server.rating.past import Range, RerateRequest, SimulationRequest
from om_server.rpc import convert

if TYPE_CHECKING:
    from om_server.rating.comparison import Compared, Difference


def rerate_from_proto(message: pb.RerateEventsRequest) -> RerateRequest:
    """Read which events are to be rated again."""
    return RerateRequest(
        range=_range_from_proto(message),
        idempotency_key=message.idempotency_key,
        provider=message.provider,
        model=message.model,
        burn_table_id=message.burn_table_id,
        difference_count=message.difference_count,
    )


def simulation_from_proto(message: pb.SimulateBurnTableRequest) -> SimulationRequest:
    """Read a proposed table and its range; PRICE_INVALID names the first flaw of the table."""
    return SimulationRequest(
        range=_range_from_proto(message),
        draft=burn_table_from_proto(message.burn_table),
        difference_count=message.difference_count,
    )


def rerated_to_proto(compared: Compared, *, dry_run: bool) -> pb.RerateEventsResponse:
    """Write what was, or would be, changed; a dry run has moved nothing, which is not zero."""
    return pb.RerateEventsResponse(
        event_count=compared.event_count,
        changed_count=compared.changed_count,
        charge_difference=_money(CREDITS, compared.charge_after - compared.charge_before),
        cost_difference=_money(USD, compared.cost_difference),
        wallet_difference=None if dry_run else _money(CREDITS, compared.wallet_difference),
        unrated_count=compared.unrated_count,
        differences=[_difference_to_proto(found) for found in compared.differences],
    )


def simulated_to_proto(compared: Compared) -> pb.SimulateBurnTableResponse:
    """Write the state of a simulation."""
    return pb.SimulateBurnTableResponse(
        event_count=compared.event_count,
        charge_before=_money(CREDITS, compared.charge_before),
        charge_after=_money(CREDITS, compared.charge_after),
        differences=[_difference_to_proto(found) for found in compared.differences],
        changed_count=compared.changed_count,
        unrated_count=compared.unrated_count,
    )


def _range_from_proto(message: pb.RerateEventsRequest | pb.SimulateBurnTableRequest) -> Range:
    return Range(
        convert.timestamp_from_proto(message.start_time, "start_time"),
        convert.timestamp_from_proto(message.end_time, "end_time"),
    )


def _difference_to_proto(found: Difference) -> pb.ChargeDifference:
    return pb.ChargeDifference(
        event_id=found.event_id,
        charge_before=_money(CREDITS, found.before),
        charge_after=_money(CREDITS, found.after),
        source=found.source,
    )


def _money(currency: str, nanos: int) -> money_pb2.Money:
    # A value first: AMOUNT_OUT_OF_RANGE where a sum is beyond what an amount can say.
    return convert.money_to_proto(Money(currency, nanos))
