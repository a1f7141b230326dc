"""EdgeService on the wire. Only our own edges call it, with the service credential."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from google.protobuf import duration_pb2

from om.edge.v1 import edge_service_pb2 as pb
from om.edge.v1 import edge_service_pb2_grpc
from om.type.v1 import error_reason_pb2
from om_server.pipeline import watch_wire
from om_server.pipeline.admission import Admission, AdmissionRequest, Decision, FundingMode, Refusal
from om_server.pipeline.watcher import Feed, watch
from om_server.rpc import convert
from om_server.wallet.leases.closing import Past
from om_server.wallet.leases.lease import EdgeIdentity, Lease, LeaseReport
from om_server.wallet.limits.wire import warning_to_proto

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import grpc

    from om_server.core.clock import Clock
    from om_server.rating.rate_card import ModelRates
    from om_server.rpc.interceptors import StreamContext
    from om_server.wallet.operations import WalletOperations

_MODES = {
    FundingMode.NO_WALLET: pb.FUNDING_MODE_NO_WALLET,
    FundingMode.STRICT: pb.FUNDING_MODE_STRICT,
    FundingMode.SOFT: pb.FUNDING_MODE_SOFT,
}


class EdgeServicer(edge_service_pb2_grpc.EdgeServiceServicer):
    """Translates between messages and the operations of admission."""

    def __init__(
        self,
        admission: Admission,
        wallet: WalletOperations,
        *,
        feed: Feed,
        incarnation: str,
        clock: Clock,
    ) -> None:
        self._admission = admission
        self._wallet = wallet
        self._feed = feed
        self._incarnation = incarnation
        self._clock = clock

    def Resync(self, request: pb.ResyncRequest, context: grpc.ServicerContext) -> pb.ResyncResponse:
        """Register the epoch, unless what is said of the past is meant for another store."""
        if request.incarnation not in {"", self._incarnation}:
            return pb.ResyncResponse(incarnation=self._incarnation)
        past = Past(request.boot_id, request.clean, tuple(map(report_from_proto, request.leases)))
        resynced = self._wallet.resync(edge_from_proto(request.edge), past)
        return pb.ResyncResponse(
            open_leases=[self._lease_to_proto(lease) for lease in resynced.open_leases],
            unknown_lease_ids=resynced.unknown_lease_ids,
            incarnation=self._incarnation,
        )

    def Admit(self, request: pb.AdmitRequest, context: grpc.ServicerContext) -> pb.AdmitResponse:
        """Decide about one call."""
        decision = self._admission.admit(
            AdmissionRequest(
                edge=edge_from_proto(request.edge),
                admit_key=request.idempotency_key,
                key_id=request.key_id,
                attribution=convert.attribution_from_proto(request.attribution),
                provider=request.provider,
                model=request.model,
                bound={item.unit: item.amount for item in request.bound},
                bound_nanos=request.bound_nanos,
                min_nanos=request.min_nanos,
                want_nanos=request.want_nanos,
                max_intents=request.max_intents,
                priced=request.priced,
            )
        )
        return self._decision_to_proto(decision)

    def CloseLease(
        self, request: pb.CloseLeaseRequest, context: grpc.ServicerContext
    ) -> pb.CloseLeaseResponse:
        """Take a declaration."""
        closed = self._wallet.close_lease(edge_from_proto(request.edge), report_from_proto(request.report))
        return pb.CloseLeaseResponse(
            state=pb.LeaseState.Value(f"LEASE_STATE_{closed.lease.state.name}"),
            released_nanos=closed.released,
            incarnation=self._incarnation,
        )

    def GetRateCard(
        self, request: pb.GetRateCardRequest, context: grpc.ServicerContext
    ) -> pb.GetRateCardResponse:
        """Give the dearest rates."""
        card = self._admission.rate_card(
            request.key_id, request.customer_id, provider=request.provider, models=list(request.models)
        )
        return pb.GetRateCardResponse(
            models=[model_rates_to_proto(model) for model in card.models],
            version=card.version,
            time_to_live=_seconds(card.time_to_live_us),
            hard_limit_selectors=[
                pb.HardLimitSelector(scope=scope, id=name)
                for scope, name in self._admission.hard_scopes(request.key_id, request.customer_id)
            ],
            incarnation=self._incarnation,
        )

    async def Watch(
        self, request: pb.WatchRequest, context: StreamContext
    ) -> AsyncGenerator[pb.WatchResponse, None]:
        """Tell what an edge must know at once, until the server stops."""
        told = watch(self._feed, request.edge.edge_id, request.cursor)
        async with contextlib.aclosing(told) as deliveries:
            async for delivery in deliveries:
                for response in watch_wire.responses(delivery):
                    yield response

    def _decision_to_proto(self, decision: Decision) -> pb.AdmitResponse:
        return pb.AdmitResponse(
            allowed=decision.refusal is None,
            refusal=refusal_to_proto(decision.refusal) if decision.refusal else None,
            wallet_id=decision.wallet_id,
            funding_mode=_MODES[decision.funding_mode],
            lease=self._lease_to_proto(decision.lease) if decision.lease else None,
            resolution_version=decision.resolution_version,
            incarnation=self._incarnation,
            organization_id=decision.organization_id,
            available_nanos=decision.available,
            warnings=map(warning_to_proto, decision.warnings),
        )

    def _lease_to_proto(self, lease: Lease) -> pb.Lease:
        return pb.Lease(
            lease_id=lease.lease_id,
            wallet_id=lease.wallet_id,
            amount_nanos=lease.amount,
            max_intents=lease.max_intents,
            time_to_live=_seconds(max(0, lease.expire_time - self._clock())),
            expire_time=convert.timestamp_to_proto(lease.expire_time),
        )


def edge_from_proto(message: pb.EdgeIdentity) -> EdgeIdentity:
    """Read who speaks for an edge."""
    return EdgeIdentity(message.edge_id, message.edge_epoch, message.instance)


def report_from_proto(message: pb.LeaseReport) -> LeaseReport:
    """Read what a journal knows of a lease."""
    return LeaseReport(message.lease_id, message.final_count, message.keep_nanos)


def refusal_to_proto(refusal: Refusal) -> pb.Refusal:
    """Write why a call may not be made."""
    return pb.Refusal(
        reason=error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{refusal.error.reason}"),
        message=refusal.error.message,
        limit_id=refusal.error.metadata.get("limit_id", ""),
        window=refusal.error.metadata.get("window", ""),
        needed_nanos=refusal.needed,
        available_nanos=refusal.available,
        output_tokens_max=refusal.output_tokens_max,
    )


def model_rates_to_proto(model: ModelRates) -> pb.ModelRate:
    """Write one model of a rate card."""
    return pb.ModelRate(
        provider=model.provider,
        model=model.model,
        priced=model.priced,
        rates=[pb.UnitRate(unit=unit, nanos_per_million=rate) for unit, rate in sorted(model.rates.items())],
        request_nanos=model.request_nanos,
        minimum_nanos=model.minimum_nanos,
        context_window=model.context_window or 0,
        output_tokens_max=model.output_tokens_max or 0,
    )


def _seconds(micros: int) -> duration_pb2.Duration:
    seconds, rest = divmod(micros, 1_000_000)
    return duration_pb2.Duration(seconds=seconds, nanos=rest * 1000)
