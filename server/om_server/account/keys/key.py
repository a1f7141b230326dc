"""Rules of API keys: who may be let in, until when, and what a new key looks like. Secrets are never kept."""

from dataclasses import dataclass, field, replace

from om_server.account.keys.call_settings import CallSettings, CallSettingsChange
from om_server.core.errors import Code, DomainError, InvalidArgument
from om_server.core.ids import KEY_LIVE, KEY_PREFIXES, KEY_TEST, checksum_ok, mask_key
from om_server.rpc.caller import Scope

#: What a key may do if its creator says nothing.
SCOPES_DEFAULT = frozenset({Scope.INGEST, Scope.PROXY, Scope.READ})

# Development keys are typed by people, so they have no checksum. They exist only where they were seeded.
_DEVELOPMENT_PREFIX = "om_dev_"


class KeyRevoked(DomainError):
    """The key has ended, so nothing new may be built on it."""

    code = Code.FAILED_PRECONDITION
    reason = "KEY_REVOKED"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"key {key_id} is revoked or expired", key_id=key_id)


@dataclass(frozen=True, slots=True)
class KeyLife:
    """When a key ends. Revoking holds at once, whatever the clocks of other machines say."""

    expire_time: int | None = None
    revoke_time: int | None = None

    def ended(self, now: int) -> bool:
        """Tell whether nobody may use the key any more."""
        return self.revoke_time is not None or (self.expire_time is not None and self.expire_time <= now)


@dataclass(frozen=True, slots=True)
class Key:
    """An API key without its secret."""

    organization_id: str
    key_id: str
    team_id: str
    description: str
    masked_secret: str
    scopes: frozenset[Scope]
    test_mode: bool
    life: KeyLife
    create_time: int
    calls: CallSettings = field(default_factory=CallSettings)
    #: The end that its owner gave it. An overlap moves the end of its life, and never this one.
    owner_expire_time: int | None = None
    #: When it was last used, to the minute, where somebody asked. Two keys are not told apart by it.
    last_use_time: int | None = field(default=None, compare=False)

    @property
    def prefix(self) -> str:
        """What the secret began with; empty for a development key."""
        return next((prefix for prefix in KEY_PREFIXES if self.masked_secret.startswith(prefix)), "")


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Whose a key is, ended or not: an event that comes late still settles."""

    organization_id: str
    team_id: str
    life: KeyLife
    #: Whether the organization lets only users with a wallet of their own start something.
    user_wallet_required: bool = False
    #: Whether the organization may use nothing at all.
    suspended: bool = False

    def ended(self, now: int) -> bool:
        """Tell whether the key may start nothing new."""
        return self.suspended or self.life.ended(now)


@dataclass(frozen=True, slots=True)
class KeyUse:
    """That a key was used, and when."""

    key_id: str
    time: int


@dataclass(frozen=True, slots=True)
class KeyWish:
    """What a new key shall be. No scopes means the usual three; no prefix means om_live_."""

    team_id: str
    description: str = ""
    scopes: frozenset[Scope] = frozenset()
    test_mode: bool = False
    expire_time: int | None = None
    prefix: str = ""
    calls: CallSettings = field(default_factory=CallSettings)

    @property
    def secret_prefix(self) -> str:
        """What the secret will begin with; test mode shows in it."""
        return KEY_TEST if self.test_mode else self.prefix or KEY_LIVE

    def check(self, now: int) -> None:
        """Refuse a key that would have ended before it began."""
        if self.expire_time is not None and self.expire_time <= now:
            raise InvalidArgument("expire_time", "not in the future")


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What of a key shall be different; None stays."""

    description: str | None = None
    calls: CallSettingsChange = field(default_factory=CallSettingsChange)

    def applied(self, key: Key) -> Key:
        """Return the key after the change."""
        description = key.description if self.description is None else self.description
        return replace(key, description=description, calls=self.calls.applied(key.calls))


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key with its secret, which is shown once and is not in any log."""

    key: Key
    secret: str = field(repr=False)


def credible(secret: str) -> bool:
    """Tell whether a secret is worth a look-up: most wrong ones are typing errors, or no key of ours."""
    return checksum_ok(secret) or secret.startswith(_DEVELOPMENT_PREFIX)


def masked(secret: str) -> str:
    """Return what may be shown of a secret. A development key is public, so its prefix tells which."""
    return f"{_DEVELOPMENT_PREFIX}..." if secret.startswith(_DEVELOPMENT_PREFIX) else mask_key(secret)


def successor(key: Key) -> KeyWish:
    """Return the wish for a key that takes this one's place: everything but the secret stays.

    It ends when the owner said, not with the overlap of a key that was replaced before: whoever lost the
    answer of a rotation and asks again gets a key that lasts.
    """
    return KeyWish(
        team_id=key.team_id,
        description=key.description,
        scopes=key.scopes,
        test_mode=key.test_mode,
        expire_time=key.owner_expire_time,
        prefix=key.prefix,
        calls=key.calls,
    )


def life_after_rotation(key: Key, now: int, *, overlap: int) -> KeyLife:
    """Return when a replaced key ends: after the overlap in microseconds, or when it would have anyway."""
    if key.life.ended(now):
        raise KeyRevoked(key.key_id)
    if overlap == 0:
        return KeyLife(key.life.expire_time, revoke_time=now)
    ends = now + overlap
    return KeyLife(ends if key.life.expire_time is None else min(ends, key.life.expire_time))
