"""What a caller says of a call, as the contract's message: for its admission, and for its event."""

from __future__ import annotations

from om.type.v1 import event_pb2
from om_proxy.dialects.attribution import Attribution


def attribution_of(who: Attribution) -> event_pb2.Attribution:
    """Write to whom and to what a call belongs. Without a version the server attaches the active one."""
    return event_pb2.Attribution(
        customer_id=who.customer_id,
        user_id=who.user_id,
        feature_id=who.feature_id,
        tags=who.tags,
        prompt_key=who.prompt_key,
        prompt_version=who.prompt_version,
    )
