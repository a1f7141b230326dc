"""The platform keys that are known here: asked for once, revoked by the server's word, and by hash alone.

While the server is reachable a key is believed for half a minute at most. While it is away a known key
goes on; who pays decides for how long.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog

from om.account.v1 import account_service_pb2 as account_pb
from om.type.v1 import access_pb2
from om_proxy.admission.cache import AnswerCache, Entry, ExpiringCache, Told
from om_proxy.dialects.attribution import OnDisconnect
from om_proxy.refusals import problem
from om_proxy.refusals.refusal import Problem
from om_proxy.secret import Secret
from om_proxy.server.server_client import ServerAway, ServerClient, ServerRefused

_log = structlog.get_logger(__name__)

#: A revoked key works this long at most while the server is reachable, even if its word is lost.
KEY_TIME_TO_LIVE_S = 30.0
#: A key that was just created must not be refused for long, nor a wrong one asked about each time.
UNKNOWN_KEY_TIME_TO_LIVE_S = 2.0
#: At its start the edge is about to register.
_TRUST_PATIENCE_S = 1.0
_KEYS_MAX = 20_000
_ENDS_MAX = 20_000
_NO_SUCH_KEY = frozenset(
    {"CREDENTIAL_INVALID", "CREDENTIAL_MISSING", "INVALID_ARGUMENT", "NOT_FOUND", "KEY_REVOKED"}
)
_ON_DISCONNECT = {
    account_pb.ON_DISCONNECT_CANCEL: OnDisconnect.CANCEL,
    account_pb.ON_DISCONNECT_DRAIN: OnDisconnect.DRAIN,
}
_MAY_CALL = frozenset({access_pb2.SCOPE_PROXY, access_pb2.SCOPE_ADMIN})


@dataclass(frozen=True, slots=True)
class Key:
    """A platform key that may send calls."""

    key_id: str
    organization_id: str
    test_mode: bool
    team_id: str = ""
    #: What holds for its calls where they say nothing; None is what the proxy was set to.
    on_disconnect: OnDisconnect | None = None
    on_disconnect_by_operation: Mapping[str, OnDisconnect] = field(default_factory=dict, hash=False)
    clamp_output: bool = False

    def leaving(self, operation: str) -> OnDisconnect | None:
        """What becomes of a call of this operation whose caller leaves."""
        return self.on_disconnect_by_operation.get(operation, self.on_disconnect)


@dataclass(frozen=True, slots=True)
class _Known:
    """A key, and when it ends by itself, in seconds since 1970."""

    key: Key
    ends: float


class _WrongKey(Exception):
    """The server knows the key, and it may not send calls."""


class KeyRing:
    """Finds keys by their secrets."""

    def __init__(
        self,
        server: ServerClient,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`clock` ages what is known; `now` is seconds since 1970, for keys that end by themselves."""
        self._server = server
        self._clock = clock
        self._now = now
        self._keys: AnswerCache[bytes, _Known] = AnswerCache(_KEYS_MAX, clock)
        # Apart, so that a flood of wrong keys cannot push out the right ones.
        self._wrong: ExpiringCache[bytes, Problem] = ExpiringCache(_KEYS_MAX, clock)
        #: When keys end of which the server told, because an answer may have been on its way before.
        self._ends: OrderedDict[str, float] = OrderedDict()
        self._current_at = -math.inf

    async def find(self, secret: Secret) -> Key | Problem:
        """Find a key that may send calls; the same 401 for every reason why not."""
        # The whole secret is hashed: a cache by a part of it would let one key answer for another.
        digest = hashlib.sha256(secret.reveal().encode()).digest()
        entry = self._living(digest)
        if entry is not None:
            now = self._clock()
            good = now < entry.good_until
            if good or self._server.away:
                if now >= entry.refresh_at:
                    self._keys.ask_behind(digest, partial(self._authenticate, digest, secret))
                return entry.value.key
        elif (wrong := self._wrong.get(digest)) is not None:
            return wrong
        try:
            known = await self._keys.ask(digest, partial(self._authenticate, digest, secret))
        except ServerAway:
            # Unknown is not wrong: nobody can say so now.
            entry = self._living(digest)
            return problem.unavailable() if entry is None else entry.value.key
        except ServerRefused as refused:
            return await self._no_key(digest, refused)
        except _WrongKey:
            return self._remember_wrong(digest)
        return known.key

    def unconfirmed_s(self, secret: Secret) -> float:
        """How long ago the server last said, or would have denied, that the key is good."""
        entry = self._keys.get(hashlib.sha256(secret.reveal().encode()).digest())
        told_at = entry.told_at if entry is not None else -math.inf
        return self._clock() - max(told_at, self._current_at)

    def revoke(self, key_id: str, ends: float) -> None:
        """Believe a key only until it ends, in seconds since 1970."""
        ends = min(ends, self._ends.get(key_id, math.inf))
        self._ends[key_id] = ends
        self._ends.move_to_end(key_id)
        if len(self._ends) > _ENDS_MAX:
            self._ends.popitem(last=False)
        if ends <= self._now():
            self._keys.drop(lambda _, known: known.key.key_id == key_id)
        else:
            self._doubt(key_id)

    def restore(self, key_id: str) -> None:
        """Forget what was told of a key's end, and believe nothing else of it without asking."""
        self._ends.pop(key_id, None)
        self._doubt(key_id)

    def confirm(self) -> None:
        """Every revocation up to now was told, so what is known holds."""
        self._current_at = self._clock()

    def drop_all(self) -> None:
        """Forget every key: something was missed."""
        self._keys.clear()
        self._current_at = -math.inf

    async def close(self) -> None:
        """Give up what is being asked."""
        await self._keys.close()

    def _doubt(self, key_id: str) -> None:
        """Ask again before the key's next call: what it says about its calls may have changed."""
        self._keys.doubt(lambda _, known: known.key.key_id == key_id)

    def _living(self, digest: bytes) -> Entry[_Known] | None:
        """Find what is known of a key that has not ended."""
        entry = self._keys.get(digest)
        if entry is None:
            return None
        ends = min(entry.value.ends, self._ends.get(entry.value.key.key_id, math.inf))
        return entry if self._now() < ends else None

    async def _authenticate(self, digest: bytes, secret: Secret) -> Told[_Known]:
        try:
            found = await self._server.ask(
                self._server.account.AuthenticateKey,
                account_pb.AuthenticateKeyRequest(secret=secret.reveal()),
            )
        except ServerRefused as refused:
            if refused.reason in _NO_SUCH_KEY:
                self._keys.drop(lambda known_digest, _: known_digest == digest)
            raise
        key = key_from_proto(found)
        ends = found.expire_time.ToNanoseconds() / 10**9 if found.HasField("expire_time") else math.inf
        ends = min(ends, self._ends.get(key.key_id, math.inf))
        if not _MAY_CALL & set(found.scopes) or ends <= self._now():
            self._keys.drop(lambda known_digest, _: known_digest == digest)
            raise _WrongKey
        return Told(_Known(key, ends), min(KEY_TIME_TO_LIVE_S, ends - self._now()))

    async def _no_key(self, digest: bytes, refused: ServerRefused) -> Problem:
        """Tell a wrong key from a wrong service credential, which the server refuses in the same words."""
        if refused.reason not in _NO_SUCH_KEY:
            _log.error("server_refused", reason=refused.reason)
            return problem.unavailable()
        if not await self._server.trusted(_TRUST_PATIENCE_S):
            return problem.unavailable()
        return self._remember_wrong(digest)

    def _remember_wrong(self, digest: bytes) -> Problem:
        refused = problem.invalid_api_key()
        self._wrong.put(digest, refused, time_to_live_s=UNKNOWN_KEY_TIME_TO_LIVE_S)
        return refused


def key_from_proto(found: account_pb.AuthenticateKeyResponse) -> Key:
    """Read a key; a policy of a later contract is none."""
    return Key(
        found.key_id,
        found.organization_id,
        found.test_mode,
        found.team_id,
        _ON_DISCONNECT.get(found.on_disconnect),
        {
            operation: _ON_DISCONNECT[policy]
            for operation, policy in found.on_disconnect_by_operation.items()
            if policy in _ON_DISCONNECT
        },
        found.clamp_output,
    )
