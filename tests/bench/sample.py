"""The events that are measured with: 50 users of 5 customers, 4 features, 2 models, one wallet that pays."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from google.protobuf import timestamp_pb2

from om.type.v1 import event_pb2, usage_pb2
from om_server.account.development import KEY_ID, ORGANIZATION_ID, TEAM_ID
from om_server.core.clock import system_clock
from om_server.core.event import (
    SOURCE_API,
    SOURCE_PROXY,
    Attribution,
    EdgePosition,
    Event,
    EventType,
    Funding,
    UsageLine,
)
from om_server.core.usage import Usage
from om_server.ingestion import envelope

if TYPE_CHECKING:
    from om_server.wallet.leases.lease import Lease

_MODELS = ("gpt-4o-mini", "gpt-4o")


def message(event_id: str, index: int) -> event_pb2.UsageEvent:
    """An event as an SDK reports it."""
    now = system_clock()
    usage = usage_pb2.Usage(
        quantities=[
            usage_pb2.Quantity(unit=unit, amount=amount, certainty=usage_pb2.CERTAINTY_MEASURED)
            for unit, amount in _amounts(index).items()
        ]
    )
    return event_pb2.UsageEvent(
        event_id=event_id,
        occur_time=timestamp_pb2.Timestamp(seconds=now // 10**6, nanos=now % 10**6 * 1000),
        type=event_pb2.EVENT_TYPE_TOKEN_USAGE,
        attribution=event_pb2.Attribution(
            customer_id=f"customer_{index % 5}",
            user_id=f"user_{index % 50}",
            feature_id=f"feature_{index % 4}",
        ),
        lines=[event_pb2.UsageLine(provider="openai", model=_MODELS[index % 2], usage=usage)],
    )


def event(event_id: str, index: int) -> Event:
    """The same as a value, as intake queues it."""
    now = system_clock()
    value = Event(
        organization_id=ORGANIZATION_ID,
        source=SOURCE_API,
        event_id=event_id,
        event_type=EventType.TOKEN_USAGE,
        event_time=now,
        receive_time=now,
        attribution=Attribution(
            customer_id=f"customer_{index % 5}",
            user_id=f"user_{index % 50}",
            team_id=TEAM_ID,
            feature_id=f"feature_{index % 4}",
        ),
        lines=(UsageLine("openai", _MODELS[index % 2], Usage.measured(**_amounts(index))),),
        key_id=KEY_ID,
    )
    digest = envelope.payload_hash(value, time_supplied=True)
    return dataclasses.replace(value, payload_hash=digest)


def proxied(event_id: str, index: int, *, lease: Lease) -> Event:
    """The same as an edge reports it, paid from a lease for this one call."""
    return dataclasses.replace(
        event(event_id, index),
        source=SOURCE_PROXY,
        edge=EdgePosition(lease.edge_id, lease.edge_epoch, index + 1),
        funding=(Funding(lease.lease_id, lease.amount, lease.amount),),
        wallet_id=lease.wallet_id,
        http_status=200,
        latency_ms=800,
    )


def _amounts(index: int) -> dict[str, int]:
    return {"input_tokens": 200 + index, "cache_read_tokens": 64, "output_tokens": 20 + index % 90}
