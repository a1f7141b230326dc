"""Which soft limits calls pass, as far as answers of admission tell: nobody is asked for it."""

from __future__ import annotations

import time
from collections.abc import Callable

from om.edge.v1 import edge_service_pb2 as edge_pb
from om_proxy.admission.cache import ExpiringCache
from om_proxy.admission.keys import Key
from om_proxy.dialects.attribution import Attribution

#: How long an answer is shown with calls that nobody was asked about.
SHOWN_FOR_S = 30.0
_LABELS_MAX = 20_000
#: A header has room for so many.
_LIMITS_MAX = 8

#: Key, customer, user, feature and tags: all that a limit may be about.
_Labels = tuple[str, str, str, str, tuple[str, ...]]


class LimitWarnings:
    """What the last answer about a call with the same labels said."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._told: ExpiringCache[_Labels, tuple[str, ...]] = ExpiringCache(_LABELS_MAX, clock)

    def note(self, request: edge_pb.AdmitRequest, answer: edge_pb.AdmitResponse) -> None:
        """Take in an answer, which ends what an earlier one said."""
        who = request.attribution
        labels = request.key_id, who.customer_id, who.user_id, who.feature_id, tuple(who.tags)
        limits = tuple(warning.limit_id for warning in answer.warnings[:_LIMITS_MAX])
        if limits or self._told.get(labels):
            self._told.put(labels, limits, time_to_live_s=SHOWN_FOR_S)

    def of(self, key: Key, who: Attribution) -> tuple[str, ...]:
        """Name the limits; none also where nobody was asked about such a call lately."""
        return self._told.get((key.key_id, who.customer_id, who.user_id, who.feature_id, who.tags)) or ()
