"""Who pays for whose calls, as admission decided it: for half a minute, and until a wallet changes."""

from __future__ import annotations

import enum
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.type.v1 import error_reason_pb2 as reasons
from om_proxy.admission.ask import Ask, Scope
from om_proxy.admission.cache import AnswerCache, Entry, Told

PAYER_TIME_TO_LIVE_S = 30.0
_PAYERS_MAX = 20_000

#: Asks who pays, without taking anything. ServerAway or ServerRefused.
WhoPays = Callable[[Ask], Awaitable[edge_pb.AdmitResponse]]


class Mode(enum.Enum):
    """How calls are paid for."""

    NOBODY = "nobody"  # Cost is tracked, nothing is charged.
    STRICT = "strict"
    SOFT = "soft"  # May go down to a credit limit, and on while the server is away.
    NOT_ALLOWED = "not_allowed"  # Only users with a wallet of their own may call, and this one has none.
    BLOCKED = "blocked"  # Is asked about each time, until it is not.


@dataclass(frozen=True, slots=True)
class Payer:
    """The decision about one key, customer and user."""

    organization_id: str
    wallet_id: str
    mode: Mode
    version: int


class Payers:
    """What was decided, by key, customer and user."""

    def __init__(self, who_pays: WhoPays, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._who_pays = who_pays
        self._clock = clock
        self._payers: AnswerCache[Scope, Payer] = AnswerCache(_PAYERS_MAX, clock)

    def known(self, ask: Ask) -> Payer | None:
        """Give a decision that holds; one that ends soon is asked for again behind it."""
        entry = self._payers.get(ask.scope)
        return self._good(entry, ask) if entry is not None else None

    def last_known(self, ask: Ask) -> Payer | None:
        """Give a decision that held when the server was there."""
        entry = self._payers.get(ask.scope)
        return entry.value if entry is not None else None

    @property
    def generation(self) -> int:
        """To be read before asking, and given to `note`."""
        return self._payers.generation

    def note(self, ask: Ask, answer: edge_pb.AdmitResponse, *, generation: int) -> Payer:
        """Remember who pays, from any answer of admission."""
        told = _told(answer)
        self._payers.put(ask.scope, told, generation=generation)
        return told.value

    def wallet_changed(self, organization_id: str, version: int) -> None:
        """End the decisions of an organization from before a version."""
        self._payers.drop(
            lambda _, payer: payer.organization_id == organization_id and payer.version < version
        )

    def drop_all(self) -> None:
        """Forget every decision: something was missed."""
        self._payers.clear()

    async def close(self) -> None:
        """Give up what is being asked."""
        await self._payers.close()

    def _good(self, entry: Entry[Payer], ask: Ask) -> Payer | None:
        now = self._clock()
        if now >= entry.good_until:
            return None
        if now >= entry.refresh_at:
            self._payers.ask_behind(ask.scope, lambda: self._ask(ask))
        return entry.value

    async def _ask(self, ask: Ask) -> Told[Payer]:
        return _told(await self._who_pays(ask))


def _told(answer: edge_pb.AdmitResponse) -> Told[Payer]:
    mode = _MODES.get(answer.funding_mode, Mode.STRICT if answer.wallet_id else Mode.NOBODY)
    if not answer.allowed:
        mode = _REFUSED.get(answer.refusal.reason, mode)
    payer = Payer(answer.organization_id, answer.wallet_id, mode, answer.resolution_version)
    return Told(payer, 0.0 if mode is Mode.BLOCKED else PAYER_TIME_TO_LIVE_S)


_MODES = {
    edge_pb.FUNDING_MODE_NO_WALLET: Mode.NOBODY,
    edge_pb.FUNDING_MODE_STRICT: Mode.STRICT,
    edge_pb.FUNDING_MODE_SOFT: Mode.SOFT,
}
_REFUSED = {
    reasons.ERROR_REASON_WALLET_BLOCKED: Mode.BLOCKED,
    reasons.ERROR_REASON_USER_WALLET_REQUIRED: Mode.NOT_ALLOWED,
}
