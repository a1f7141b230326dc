"""EntitlementService on the wire. A check is asked of admission, so it is served from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from om.type.v1 import error_reason_pb2
from om.wallet.v1 import entitlement_service_pb2 as pb
from om.wallet.v1 import entitlement_service_pb2_grpc
from om_server.core.errors import DomainError
from om_server.pipeline.estimate import Asker
from om_server.rpc.caller import Principal, caller
from om_server.rpc.convert import (
    attribution_from_proto,
    credits_to_proto,
    located,
    money_to_proto,
    page_from_proto,
    usage_line_from_proto,
)
from om_server.wallet.limits.limit import LimitReached
from om_server.wallet.limits.wire import limit_to_proto, warning_to_proto, wish_from_proto

if TYPE_CHECKING:
    from collections.abc import Iterable

    import grpc

    from om.type.v1 import event_pb2
    from om_server.core.event import UsageLine
    from om_server.pipeline.entitlement import Answer, EntitlementCheck
    from om_server.wallet.limits.limit import Limit
    from om_server.wallet.limits.operations import LimitOperations


class RequireOwn(Protocol):
    """Knows the teams and keys of organizations."""

    def __call__(self, organization_id: str, *, team_id: str, key_id: str) -> None:
        """NOT_FOUND for a team or a key that is not the organization's; an empty id is none."""


class EntitlementServicer(entitlement_service_pb2_grpc.EntitlementServiceServicer):
    """Translates between messages and the operations of limits."""

    def __init__(self, limits: LimitOperations, check: EntitlementCheck, *, require_own: RequireOwn) -> None:
        self._limits = limits
        self._check = check
        self._require_own = require_own

    def CheckEntitlement(
        self, request: pb.CheckEntitlementRequest, context: grpc.ServicerContext
    ) -> pb.CheckEntitlementResponse:
        """Tell whether something may be done. A refusal is an answer."""
        who = caller()
        attribution = attribution_from_proto(request.attribution)
        # A key's consumption is its team's, whatever the caller names.
        team_id = who.team_id if who.principal is Principal.KEY else attribution.team_id
        answer = self._check.check(
            Asker(who.organization_id, team_id),
            who.key_id,
            attribution=attribution,
            lines=_lines(request.lines),
        )
        return answer_to_proto(answer)

    def CreateEntitlement(
        self, request: pb.CreateEntitlementRequest, context: grpc.ServicerContext
    ) -> pb.CreateEntitlementResponse:
        """Create a limit; the answer says from when it holds."""
        organization_id, wish = caller().organization_id, wish_from_proto(request.entitlement)
        self._require_own(organization_id, team_id=wish.selector.team_id, key_id=wish.selector.key_id)
        limit = self._limits.create(
            organization_id,
            wish,
            idempotency_key=request.idempotency_key,
        )
        return pb.CreateEntitlementResponse(entitlement=self._to_proto(limit))

    def UpdateEntitlement(
        self, request: pb.UpdateEntitlementRequest, context: grpc.ServicerContext
    ) -> pb.UpdateEntitlementResponse:
        """Put a limit under new terms; the answer says from when they hold."""
        limit = self._limits.update(
            caller().organization_id, request.entitlement_id, wish_from_proto(request.entitlement)
        )
        return pb.UpdateEntitlementResponse(entitlement=self._to_proto(limit))

    def DeleteEntitlement(
        self, request: pb.DeleteEntitlementRequest, context: grpc.ServicerContext
    ) -> pb.DeleteEntitlementResponse:
        """Delete a limit."""
        self._limits.delete(caller().organization_id, request.entitlement_id)
        return pb.DeleteEntitlementResponse()

    def GetEntitlement(
        self, request: pb.GetEntitlementRequest, context: grpc.ServicerContext
    ) -> pb.GetEntitlementResponse:
        """Get a limit."""
        limit = self._limits.get(caller().organization_id, request.entitlement_id)
        return pb.GetEntitlementResponse(entitlement=self._to_proto(limit))

    def ListEntitlements(
        self, request: pb.ListEntitlementsRequest, context: grpc.ServicerContext
    ) -> pb.ListEntitlementsResponse:
        """List limits."""
        page = self._limits.list_limits(caller().organization_id, page_from_proto(request))
        return pb.ListEntitlementsResponse(
            entitlements=[limit_to_proto(limit, used=used) for limit, used in page.limits],
            next_page_token=page.next_page_token,
        )

    def _to_proto(self, limit: Limit) -> pb.Entitlement:
        return limit_to_proto(limit, used=self._limits.used(caller().organization_id, limit))


def answer_to_proto(answer: Answer) -> pb.CheckEntitlementResponse:
    """Write whether something may be done, and what refuses it or is warned of."""
    refusal, warned = answer.decision.refusal, answer.decision.warnings
    error = refusal.error if refusal else LimitReached(warned[0]) if warned else None
    reason = f"ERROR_REASON_{error.reason if error else 'UNSPECIFIED'}"
    estimate = answer.estimate
    return pb.CheckEntitlementResponse(
        allowed=refusal is None,
        reason=error_reason_pb2.ErrorReason.Value(reason),
        message=error.message if error else "",
        entitlement_id=error.metadata.get("limit_id", "") if error else "",
        estimated_charge=money_to_proto(estimate.charge) if estimate.charge is not None else None,
        estimated_cost=money_to_proto(estimate.cost) if estimate.cost is not None else None,
        available=None if answer.available is None else credits_to_proto(answer.available),
        warnings=map(warning_to_proto, warned),
    )


def _lines(messages: Iterable[event_pb2.UsageLine]) -> tuple[UsageLine, ...]:
    lines = []
    for index, message in enumerate(messages):
        try:
            lines.append(usage_line_from_proto(message))
        except DomainError as error:
            raise located(error, f"lines[{index}]") from None
    return tuple(lines)
