"""Watch on the wire: one message for each thing to know, each with the cursor from which to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from om.edge.v1 import edge_service_pb2 as pb
from om_server.rpc.convert import timestamp_to_proto
from om_server.storage.change import Change, ChangeKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from om_server.core.sequence_range import SequenceRange
    from om_server.pipeline.delivery import Delivery

#: An epoch whose settled sequences are full of gaps is told in parts.
_RANGES_MAX = 1000


def responses(delivery: Delivery) -> Iterator[pb.WatchResponse]:
    """Write a delivery. The last message alone moves the cursor: all before it may be told again."""
    messages = list(_messages(delivery)) or [pb.WatchResponse()]
    for message in messages:
        cursor = delivery.after if message is messages[-1] else delivery.before
        message.cursor, message.incarnation = str(cursor), delivery.after.incarnation
        message.queue_incarnation = delivery.queue
        yield message


def _messages(delivery: Delivery) -> Iterator[pb.WatchResponse]:
    if delivery.lost:
        yield pb.WatchResponse(changes_lost=pb.ChangesLost())
    yield from map(change_to_proto, delivery.changes)
    for epoch, ranges in delivery.settled.items():
        for start in range(0, len(ranges), _RANGES_MAX):
            yield _settled_to_proto(epoch, ranges[start : start + _RANGES_MAX])


def change_to_proto(change: Change) -> pb.WatchResponse:
    """Write one change. What is settled is written by ranges instead."""
    match change.kind:
        case ChangeKind.KEY_REVOKED:
            # 0 is written where a key may be used again.
            end_time = timestamp_to_proto(change.value) if change.value else None
            return pb.WatchResponse(key_revoked=pb.KeyRevoked(key_id=change.subject_id, end_time=end_time))
        case ChangeKind.WALLET_CHANGED:
            changed = pb.WalletChanged(
                organization_id=change.organization_id, resolution_version=change.value
            )
            return pb.WatchResponse(wallet_changed=changed)
        case ChangeKind.FUNDS_CHANGED:
            funds = pb.FundsChanged(wallet_id=change.subject_id, available_nanos=change.value)
            return pb.WatchResponse(funds_changed=funds)
        case ChangeKind.LEASE_RECALLED:
            return pb.WatchResponse(lease_recalled=pb.LeaseRecalled(lease_id=change.subject_id))
        case ChangeKind.LIMITS_CHANGED:
            limits = pb.HardLimitsChanged(organization_id=change.organization_id)
            return pb.WatchResponse(hard_limits_changed=limits)
        case ChangeKind.RATE_CARD_CHANGED:
            card = pb.RateCardChanged(organization_id=change.organization_id)
            return pb.WatchResponse(rate_card_changed=card)
        case ChangeKind.SETTLED:
            raise TypeError("settled sequences are told as ranges")


def _settled_to_proto(epoch: int, ranges: Iterable[SequenceRange]) -> pb.WatchResponse:
    settled = pb.SequencesSettled(
        edge_epoch=epoch, ranges=[pb.SequenceRange(first=part.first, last=part.last) for part in ranges]
    )
    return pb.WatchResponse(sequences_settled=settled)
