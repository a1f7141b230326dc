"""A limit as the published API shows it. Published limits count credits, over UTC days and months."""

from collections.abc import Mapping
from decimal import Decimal

from google.protobuf import json_format

from om.wallet.v1 import entitlement_service_pb2 as pb
from om_server.core.usage import find_unit
from om_server.rest.channel import Server
from om_server.rest.documented.figure import exact
from om_server.rest.request import CallContext

CREDITS = "credits"
#: A period that was named TOTAL keeps a time zone, and one that was null has none: for a window that never
#: ends the zone means nothing, and so either is shown as it was sent.
NAMED_TOTAL_ZONE = "UTC"

_MONEY_UNITS = frozenset({CREDITS, "cost"})
_EVENTS = "events"
_PAGE = 200
LIMIT_TYPES = {
    "HARD": pb.LIMIT_TYPE_HARD,
    "SOFT": pb.LIMIT_TYPE_SOFT,
    "NONE": pb.LIMIT_TYPE_NONE,
}
PERIODS = {
    "DAILY": pb.LIMIT_WINDOW_DAY,
    "MONTHLY": pb.LIMIT_WINDOW_MONTH,
    "TOTAL": pb.LIMIT_WINDOW_TOTAL,
}
_TYPE_NAMES = {value: name for name, value in LIMIT_TYPES.items()}
#: The last two were never published; limits made over gRPC may have them.
_PERIOD_NAMES: Mapping["pb.LimitWindow.ValueType", str] = {
    **{value: name for name, value in PERIODS.items()},
    pb.LIMIT_WINDOW_WEEK: "WEEKLY",
    pb.LIMIT_WINDOW_ROLLING: "ROLLING",
}


async def all_entitlements(server: Server, *, context: CallContext) -> list[pb.Entitlement]:
    """Every limit of the organization, oldest first. The published list has no pages."""
    found: list[pb.Entitlement] = []
    token = ""
    while True:
        asked = pb.ListEntitlementsRequest(page_size=_PAGE, page_token=token)
        reply = await server.ask(server.entitlements.ListEntitlements, asked, context=context)
        found.extend(reply.entitlements)
        token = reply.next_page_token
        if not token:
            return found


def limit_value(limit: pb.Entitlement) -> Decimal | None:
    """How much is allowed, in whole units; None if the limit has no number. 0 is a number."""
    return _whole(limit.limit_value, limit.unit) if limit.HasField("limit_value") else None


def short_body(limit: pb.Entitlement) -> dict[str, object]:
    """What a write answers."""
    return {
        "id": limit.entitlement_id,
        "featureId": limit.feature_id,
        "limitType": _TYPE_NAMES[limit.type],
        "limitValue": limit_value(limit),
    }


def row(limit: pb.Entitlement) -> dict[str, object]:
    """One row of the list. `unit` was not published: it tells limits apart that count something else."""
    return {
        "id": limit.entitlement_id,
        "userId": limit.user_id or None,
        "featureId": limit.feature_id,
        "limitType": _TYPE_NAMES[limit.type],
        "limitValue": limit_value(limit),
        "period": _period(limit),
        "metadata": json_format.MessageToDict(limit.metadata) if limit.HasField("metadata") else None,
        "currentUsage": _whole(limit.used_value, limit.unit),
        "unit": limit.unit,
    }


def feature_row(limit: pb.Entitlement) -> dict[str, object]:
    """One row of the list that the Python client reads."""
    value = limit_value(limit)
    return {
        "featureId": limit.feature_id,
        "isEnabled": not (limit.type == pb.LIMIT_TYPE_HARD and value == 0),
        "limitType": _TYPE_NAMES[limit.type],
        "limitValue": value,
    }


def _period(limit: pb.Entitlement) -> str | None:
    if limit.window == pb.LIMIT_WINDOW_TOTAL and not limit.time_zone:
        return None
    return _PERIOD_NAMES[limit.window]


def _whole(amount: int, unit: str) -> Decimal:
    if unit in _MONEY_UNITS:
        return exact(amount)
    if unit == _EVENTS:
        return Decimal(amount)
    value = Decimal(amount) / find_unit(unit).step
    return value.to_integral_value() if value == value.to_integral_value() else value.normalize()
