"""Limits as messages, and requests as values."""

from om.type.v1 import limit_warning_pb2
from om.wallet.v1 import entitlement_service_pb2 as pb
from om_server.rpc.convert import timestamp_to_proto
from om_server.rpc.convert_struct import struct_from_proto, struct_to_proto
from om_server.wallet.limits.limit import CREDITS, Limit, LimitMode, Selector, Standing, Terms
from om_server.wallet.limits.operations import LimitWish
from om_server.wallet.limits.window import Window, WindowKind

_MODES = {
    pb.LIMIT_TYPE_UNSPECIFIED: LimitMode.HARD,
    pb.LIMIT_TYPE_HARD: LimitMode.HARD,
    pb.LIMIT_TYPE_SOFT: LimitMode.SOFT,
    pb.LIMIT_TYPE_NONE: LimitMode.NONE,
}
_WINDOWS = {
    pb.LIMIT_WINDOW_UNSPECIFIED: WindowKind.TOTAL,
    pb.LIMIT_WINDOW_TOTAL: WindowKind.TOTAL,
    pb.LIMIT_WINDOW_DAY: WindowKind.DAY,
    pb.LIMIT_WINDOW_WEEK: WindowKind.WEEK,
    pb.LIMIT_WINDOW_MONTH: WindowKind.MONTH,
    pb.LIMIT_WINDOW_ROLLING: WindowKind.ROLLING,
}
_MODES_TO_PROTO = {mode: value for value, mode in _MODES.items()}
_WINDOWS_TO_PROTO = {kind: value for value, kind in _WINDOWS.items()}

_MONDAY = 1


def wish_from_proto(message: pb.Entitlement) -> LimitWish:
    """Read a limit that a caller wants. What only the server sets is not read."""
    window = Window(
        _WINDOWS[message.window], message.rolling_hours, message.time_zone, message.week_start or _MONDAY
    )
    amount = message.limit_value if message.HasField("limit_value") else None
    return LimitWish(
        selector=Selector(
            feature_id=message.feature_id,
            user_id=message.user_id,
            customer_id=message.customer_id,
            team_id=message.team_id,
            key_id=message.key_id,
            tag=message.tag,
            each_user=message.each_user,
        ),
        unit=message.unit or CREDITS,
        terms=Terms(_MODES[message.type], amount, window),
        metadata=struct_from_proto(message.metadata, "entitlement.metadata"),
    )


def limit_to_proto(limit: Limit, *, used: int) -> pb.Entitlement:
    """Write a limit under the terms that were written last, and from when they hold."""
    selector, terms = limit.selector, limit.latest.terms
    window = terms.window
    return pb.Entitlement(
        entitlement_id=limit.limit_id,
        feature_id=selector.feature_id,
        user_id=selector.user_id,
        customer_id=selector.customer_id,
        team_id=selector.team_id,
        key_id=selector.key_id,
        tag=selector.tag,
        each_user=selector.each_user,
        type=_MODES_TO_PROTO[terms.mode],
        unit=limit.unit,
        limit_value=terms.amount,
        window=_WINDOWS_TO_PROTO[window.kind],
        rolling_hours=window.rolling_hours,
        time_zone=window.time_zone,
        week_start=window.week_start,
        metadata=struct_to_proto(limit.metadata) if limit.metadata != "{}" else None,
        used_value=used,
        effective_time=timestamp_to_proto(limit.latest.effective_time),
    )


def warning_to_proto(passed: Standing) -> limit_warning_pb2.LimitWarning:
    """Write a soft limit that a call passes."""
    return limit_warning_pb2.LimitWarning(
        limit_id=passed.demand.limit.limit_id,
        window=passed.terms.window.name,
        unit=passed.demand.limit.unit,
        # A limit that is passed has a number.
        remaining=passed.remaining or 0,
    )
