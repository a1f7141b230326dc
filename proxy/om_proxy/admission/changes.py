"""What each change that the server tells means for whoever admits calls."""

from __future__ import annotations

from om.edge.v1 import edge_service_pb2 as edge_pb
from om_proxy.admission.keys import KeyRing
from om_proxy.admission.lease_desk import LeaseDesk
from om_proxy.admission.payers import Payers
from om_proxy.admission.rate_cards import RateCards


class Changes:
    """What concerns keys, rates, wallets and leases. Nothing here waits."""

    def __init__(self, keys: KeyRing, cards: RateCards, payers: Payers, *, desk: LeaseDesk) -> None:
        self._keys = keys
        self._cards = cards
        self._payers = payers
        self._desk = desk
        self._began = False

    def hear(self, message: edge_pb.WatchResponse) -> None:
        """Take in one message."""
        if not self._began:
            # The stream starts with it, so nobody tells what came before.
            self._began = True
            self._forget()
        self._apply(message)
        self._keys.confirm()

    def _apply(self, message: edge_pb.WatchResponse) -> None:
        match message.WhichOneof("change"):
            case "key_revoked":
                revoked = message.key_revoked
                if revoked.HasField("end_time"):
                    self._keys.revoke(revoked.key_id, revoked.end_time.ToNanoseconds() / 10**9)
                else:
                    self._keys.restore(revoked.key_id)
            case "funds_changed":
                self._desk.funds_changed(message.funds_changed.wallet_id)
            case "wallet_changed":
                changed = message.wallet_changed
                self._payers.wallet_changed(changed.organization_id, changed.resolution_version)
            case "hard_limits_changed":
                self._cards.renew(message.hard_limits_changed.organization_id)
            case "rate_card_changed":
                self._cards.renew(message.rate_card_changed.organization_id)
            case "lease_recalled":
                self._desk.recall(message.lease_recalled.lease_id)
            case "changes_lost":
                self._forget()
            case _:
                pass

    def _forget(self) -> None:
        self._keys.drop_all()
        self._cards.drop_all()
        self._payers.drop_all()
