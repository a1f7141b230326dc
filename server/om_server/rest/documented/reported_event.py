"""An event as it was reported, in the published names: what nobody has rated yet. Pure."""

from google.protobuf import json_format

from om.type.v1.event_pb2 import UsageEvent
from om_server.rest.documented.consumption import input_tokens, output_tokens
from om_server.rest.documented.moment import iso_text
from om_server.rest.documented.published_event import event_type_text


def reported_fields(event: UsageEvent) -> dict[str, object]:
    """Who used what, and when. Several lines are shown as the first line's model and the sum of their tokens.

    Null is what was not reported, or has no published name; an event never holds a prompt or a response.
    """
    attribution = event.attribution
    quantities = [quantity for line in event.lines for quantity in line.usage.quantities]
    first = event.lines[0] if event.lines else None
    return {
        "event_type": event_type_text(event.type),
        "customer_id": attribution.customer_id or None,
        "user_id": attribution.user_id or None,
        "team_id": attribution.team_id or None,
        "feature_id": attribution.feature_id,
        "provider": (first.provider.upper() or None) if first else None,
        "model": (first.model or None) if first else None,
        "input_tokens": input_tokens(quantities),
        "output_tokens": output_tokens(quantities),
        "timestamp": iso_text(event.occur_time),
        "metadata": json_format.MessageToDict(event.metadata) or None,
        "idempotency_key": event.idempotency_key or None,
    }
