"""The published answers of a monthly quota: what is left, and the refusal when nothing is. Pure."""

from collections.abc import Mapping

from om.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from om_server.rest.documented.endpoint import Answer
from om_server.rest.errors import Problem

QUOTA_EXCEEDED = "MONTHLY_QUOTA_EXCEEDED"
_REMAINING = "x-monthly-quota-remaining"


def quota_headers(reply: ingestion_pb.IngestEventsResponse) -> Mapping[str, str]:
    """What is left of the month; nothing where no quota applies."""
    return {_REMAINING: str(reply.monthly_quota.remaining)} if reply.HasField("monthly_quota") else {}


def quota_refusal(problem: Problem) -> Answer:
    """The published 402. Its period is written with two digits for the month."""
    used, limit = int(problem.metadata["current_usage"]), int(problem.metadata["limit"])
    details = {"currentUsage": used, "limit": limit, "period": problem.metadata["period"]}
    body: dict[str, object] = {"error": "Payment Required", "message": problem.message, "details": details}
    return Answer(402, body, headers={_REMAINING: str(max(0, limit - used))})
