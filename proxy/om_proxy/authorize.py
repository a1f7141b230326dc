"""Asks the server, before a call is made: whose key is it, what may the model cost, who pays.

Keys and rate cards are cached for a bounded time. Admission is one RPC for each call and gives a
lease for exactly that call.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import grpc
import structlog

from om.account.v1 import account_service_pb2 as account_pb
from om.edge.v1 import edge_service_pb2 as edge_pb
from om.type.v1 import access_pb2, error_reason_pb2, event_pb2
from om_proxy import problem
from om_proxy.bound import ModelLimits, Unbounded, bound
from om_proxy.cache import ExpiringCache
from om_proxy.call import Call
from om_proxy.dialects.openmonetize import Attribution
from om_proxy.identity import Edge
from om_proxy.refusal import Problem
from om_proxy.secret import Secret
from om_proxy.server_client import DEADLINE_S, ServerAway, ServerClient, ServerRefused, failure_of

_log = structlog.get_logger(__name__)

RequestT = TypeVar("RequestT", contravariant=True)  # noqa: PLC0105 - the name says what it is.
ResponseT = TypeVar("ResponseT", covariant=True)  # noqa: PLC0105

#: A revoked key works this long at most while the server is reachable.
KEY_TIME_TO_LIVE_S = 30.0
#: A key that was just created must not be refused for long, nor a wrong one asked about each time.
UNKNOWN_KEY_TIME_TO_LIVE_S = 2.0
_KEYS_MAX = 20_000
_CARDS_MAX = 20_000
_NO_SUCH_KEY = frozenset(
    {"CREDENTIAL_INVALID", "CREDENTIAL_MISSING", "INVALID_ARGUMENT", "NOT_FOUND", "KEY_REVOKED"}
)
_COST_UNKNOWN = (error_reason_pb2.ERROR_REASON_PRICE_UNKNOWN, error_reason_pb2.ERROR_REASON_BOUND_UNKNOWN)


class Rpc(Protocol[RequestT, ResponseT]):
    """A unary call of a stub."""

    def __call__(
        self, request: RequestT, /, *, timeout: float, metadata: grpc.aio.Metadata
    ) -> Awaitable[ResponseT]: ...


@dataclass(frozen=True, slots=True)
class Key:
    """A platform key that may send calls."""

    key_id: str
    organization_id: str
    test_mode: bool


@dataclass(frozen=True, slots=True)
class Admission:
    """A call that may be made: who pays, and from which lease."""

    wallet_id: str = ""
    lease_id: str = ""
    bound_nanos: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """What admission is asked about one call. Asking it again gives the same lease, never a second one."""

    request: edge_pb.AdmitRequest
    call: Call
    unbounded: Unbounded | None = None


class Authorizer:
    """The decisions before a call. Every method gives a Problem where the call must not be made."""

    def __init__(
        self,
        server: ServerClient,
        edge: Edge,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`clock` ages what is cached; `now` is seconds since 1970, for keys that end by themselves."""
        self._server = server
        self._edge = edge.to_proto()
        self._now = now
        self._resynced = False
        self._keys: ExpiringCache[bytes, Key] = ExpiringCache(_KEYS_MAX, clock)
        # Apart, so that a flood of wrong keys cannot push out the right ones.
        self._wrong_keys: ExpiringCache[bytes, Problem] = ExpiringCache(_KEYS_MAX, clock)
        self._cards: ExpiringCache[tuple[str, str, str, str], edge_pb.ModelRate] = ExpiringCache(
            _CARDS_MAX, clock
        )

    async def resync(self) -> None:
        """Register this edge. ServerAway where that must be tried again, ServerRefused where we may not."""
        request = edge_pb.ResyncRequest(edge=self._edge, clean=True)
        await self._ask(self._server.edge.Resync, request)
        self._resynced = True

    async def key(self, secret: Secret) -> Key | Problem:
        """Find a key that may send calls; the same 401 for every reason why not."""
        # The whole secret is hashed: a cache by a part of it would let one key answer for another.
        digest = hashlib.sha256(secret.reveal().encode()).digest()
        known = self._keys.get(digest) or self._wrong_keys.get(digest)
        if known is not None:
            return known
        try:
            found = await self._ask(
                self._server.account.AuthenticateKey,
                account_pb.AuthenticateKeyRequest(secret=secret.reveal()),
            )
        except ServerAway:
            return problem.unavailable()
        except ServerRefused as refused:
            return await self._no_key(digest, refused)
        if not {access_pb2.SCOPE_PROXY, access_pb2.SCOPE_ADMIN} & set(found.scopes):
            return self._wrong_key(digest)
        key = Key(found.key_id, found.organization_id, found.test_mode)
        self._keys.put(digest, key, time_to_live_s=self._time_to_live_s(found))
        return key

    async def question(self, event_id: str, key: Key, *, call: Call, who: Attribution) -> Question | Problem:
        """Bound the call with the rate card, for `admit`."""
        try:
            rates = await self._rates(key, call, customer_id=who.customer_id)
        except ServerAway:
            return problem.unavailable()
        except ServerRefused as refused:
            return _problem_of_error(refused)
        request = edge_pb.AdmitRequest(
            edge=self._edge,
            idempotency_key=event_id,
            key_id=key.key_id,
            attribution=event_pb2.Attribution(
                customer_id=who.customer_id, user_id=who.user_id, feature_id=who.feature_id
            ),
            provider=call.provider,
            model=call.model,
            max_intents=1,
        )
        return Question(request, call, _set_bound(request, call, rates))

    async def admit(self, question: Question) -> Admission | Problem:
        """Take the bound of one call from who pays. ServerAway: nobody knows whether it was taken."""
        try:
            answer = await self._admit(question.request)
        except ServerRefused as refused:
            return _problem_of_error(refused)
        if not answer.allowed:
            return _problem_of(answer.refusal, question.call, unbounded=question.unbounded)
        return Admission(answer.wallet_id, answer.lease.lease_id, answer.lease.amount_nanos)

    async def _admit(self, request: edge_pb.AdmitRequest) -> edge_pb.AdmitResponse:
        """Ask once; and again after a resync if the server has forgotten this edge."""
        try:
            return await self._ask(self._server.edge.Admit, request)
        except ServerRefused as refused:
            if refused.reason != "EDGE_NOT_RESYNCED":
                raise
        await self.resync()
        return await self._ask(self._server.edge.Admit, request)

    async def _rates(self, key: Key, call: Call, *, customer_id: str) -> edge_pb.ModelRate:
        name = (key.organization_id, customer_id, call.provider, call.model)
        known = self._cards.get(name)
        if known is not None:
            return known
        card = await self._ask(
            self._server.edge.GetRateCard,
            edge_pb.GetRateCardRequest(
                key_id=key.key_id, customer_id=customer_id, provider=call.provider, models=[call.model]
            ),
        )
        if len(card.models) != 1:
            raise ServerRefused("RATE_CARD_INCOMPLETE")
        rates = card.models[0]
        self._cards.put(name, rates, time_to_live_s=card.time_to_live.ToTimedelta().total_seconds())
        return rates

    async def _ask(self, rpc: Rpc[RequestT, ResponseT], request: RequestT) -> ResponseT:
        try:
            return await rpc(request, metadata=self._server.metadata, timeout=DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            raise failure_of(error) from None

    async def _no_key(self, digest: bytes, refused: ServerRefused) -> Problem:
        """Tell a wrong key from a wrong service credential, which the server refuses in the same words."""
        if refused.reason not in _NO_SUCH_KEY:
            return _problem_of_error(refused)
        if not self._resynced:
            try:
                await self.resync()
            except (ServerAway, ServerRefused):
                return problem.unavailable()
        return self._wrong_key(digest)

    def _wrong_key(self, digest: bytes) -> Problem:
        refused = problem.invalid_api_key()
        self._wrong_keys.put(digest, refused, time_to_live_s=UNKNOWN_KEY_TIME_TO_LIVE_S)
        return refused

    def _time_to_live_s(self, found: account_pb.AuthenticateKeyResponse) -> float:
        if not found.HasField("expire_time"):
            return KEY_TIME_TO_LIVE_S
        return min(KEY_TIME_TO_LIVE_S, found.expire_time.ToNanoseconds() / 10**9 - self._now())


def _set_bound(request: edge_pb.AdmitRequest, call: Call, rates: edge_pb.ModelRate) -> Unbounded | None:
    """Write what the call may consume and cost at most. What has no bound asks without taking anything.

    A wallet that is strict then refuses; where nobody pays, or a soft wallet does, the call is made.
    """
    limits = ModelLimits(
        context_window=rates.context_window or None, max_output=rates.output_tokens_max or None
    )
    limit = bound(call, limits)
    if isinstance(limit, Unbounded):
        return limit if rates.priced else None
    nanos = limit.nanos({rate.unit: rate.nanos_per_million for rate in rates.rates}) if rates.priced else None
    request.bound.extend(
        edge_pb.UnitBound(unit=unit, amount=amount) for unit, amount in limit.per_unit().items()
    )
    if nanos is not None:
        amount = max(nanos + rates.request_nanos, rates.minimum_nanos)
        request.priced = True
        request.bound_nanos = request.min_nanos = request.want_nanos = amount
    return None


def _problem_of(refusal: edge_pb.Refusal, call: Call, *, unbounded: Unbounded | None) -> Problem:
    """Say the server's refusal in the words of the proxy's own list."""
    reason = refusal.reason
    if reason == error_reason_pb2.ERROR_REASON_INSUFFICIENT_FUNDS:
        return problem.insufficient_credits(
            needed_nanos=refusal.needed_nanos,
            available_nanos=refusal.available_nanos,
            output_tokens_max=refusal.output_tokens_max if refusal.HasField("output_tokens_max") else None,
        )
    if reason in _COST_UNKNOWN and unbounded is not None:
        return problem.cost_unbounded(unbounded.field)
    if reason == error_reason_pb2.ERROR_REASON_PRICE_UNKNOWN:
        return problem.price_unknown(provider=call.provider, model=call.model)
    if reason == error_reason_pb2.ERROR_REASON_LIMIT_REACHED:
        return problem.limit_reached(limit_id=refusal.limit_id, window=refusal.window)
    if reason == error_reason_pb2.ERROR_REASON_USER_WALLET_REQUIRED:
        return problem.user_wallet_required()
    if reason == error_reason_pb2.ERROR_REASON_WALLET_BLOCKED:
        return problem.wallet_blocked()
    return problem.unavailable()


def _problem_of_error(refused: ServerRefused) -> Problem:
    """A key that ended between its look-up and now is an invalid key; anything else is our trouble."""
    if refused.reason in {"KEY_REVOKED", "NOT_FOUND"}:
        return problem.invalid_api_key()
    _log.error("server_refused", reason=refused.reason)
    return problem.unavailable()
