"""Ids that sort by time, and platform keys with a checksum. Clock and randomness come from outside."""

import hashlib
import re
import threading
import uuid
import zlib
from collections.abc import Callable
from functools import lru_cache

KEY_LIVE = "om_live_"
KEY_TEST = "om_test_"
KEY_APC = "apc_"
KEY_PREFIXES = (KEY_LIVE, KEY_TEST, KEY_APC)

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS = tuple(first + second for first in _CROCKFORD for second in _CROCKFORD)
_PAIR_BITS = 10
_ID_CHARACTERS = 26
_RANDOM_BITS = 80
_RANDOM_BYTES = _RANDOM_BITS // 8
_KEY_CHARACTERS = 32
_KEY_RANDOM_BYTES = 32
_CHECKSUM_CHARACTERS = 6
_MASK_CHARACTERS = 4
_PREFIX = re.compile(r"[a-z]{2,8}")


def new_id(prefix: str, now_ms: int, *, random_bytes: bytes) -> str:
    """Return prefix_ and 26 characters: 48 bits of Unix milliseconds, then the 10 random bytes."""
    if len(random_bytes) != _RANDOM_BYTES:
        msg = f"an id needs {_RANDOM_BYTES} random bytes"
        raise ValueError(msg)
    return f"{prefix}_{_spell(now_ms << _RANDOM_BITS | int.from_bytes(random_bytes))}"


def id_as_uuid(identity: str) -> str:
    """Return the 128 bits of an id as a UUID, which the published API calls an organization by."""
    number = 0
    for digit in identity.rpartition("_")[2]:
        number = number << 5 | _CROCKFORD.index(digit)
    return str(uuid.UUID(int=number))


def id_from_uuid(prefix: str, text: str) -> str:
    """Return the id whose 128 bits are this UUID; ValueError for what is none."""
    return f"{prefix}_{_spell(uuid.UUID(text).int)}"


@lru_cache(maxsize=64)
def id_pattern(prefix: str) -> re.Pattern[str]:
    """Return the pattern of ids with a prefix; use it with fullmatch."""
    if _PREFIX.fullmatch(prefix) is None:
        msg = f"{prefix!r} is not an id prefix"
        raise ValueError(msg)
    # 128 bits fill 26 characters of 5 bits but for the first, which never passes 7.
    return re.compile(rf"{prefix}_[0-7][{_CROCKFORD}]{{{_ID_CHARACTERS - 1}}}")


class IdSource:
    """Makes ids that grow strictly within one source, also inside a millisecond and if the clock falls."""

    def __init__(self, clock_ms: Callable[[], int], random_bytes: Callable[[int], bytes]) -> None:
        self._clock_ms = clock_ms
        self._random_bytes = random_bytes
        self._lock = threading.Lock()
        self._last = 0
        #: The text of all but the last two characters, which many ids of one millisecond share.
        self._head = ""
        self._head_value = -1

    def new(self, prefix: str) -> str:
        """Return a fresh id."""
        with self._lock:
            now_ms = self._clock_ms()
            if now_ms > self._last >> _RANDOM_BITS:
                self._last = now_ms << _RANDOM_BITS | int.from_bytes(self._random_bytes(_RANDOM_BYTES))
            else:
                self._last += 1
            high, low = divmod(self._last, len(_PAIRS))
            if high != self._head_value:
                self._head, self._head_value = _spell(high << _PAIR_BITS)[:-2], high
            head = self._head
        return f"{prefix}_{head}{_PAIRS[low]}"


def new_key(prefix: str, random_bytes: bytes) -> str:
    """Return a platform key: prefix, 32 random characters from 32 bytes, 6 characters of checksum."""
    if prefix not in KEY_PREFIXES or len(random_bytes) != _KEY_RANDOM_BYTES:
        msg = f"a key needs a known prefix and {_KEY_RANDOM_BYTES} random bytes"
        raise ValueError(msg)
    # 256 bits onto 62^32 values (190 bits): the bias of the remainder is below 2^-65.
    body = prefix + _base62(int.from_bytes(random_bytes) % 62**_KEY_CHARACTERS, _KEY_CHARACTERS)
    return body + _checksum(body)


def checksum_ok(key: str) -> bool:
    """Tell whether a key is one that new_key may have made, so that typing errors cost no look-up.

    The seeded development key has no checksum: ask for its hash before this.
    """
    prefix = _key_prefix(key)
    body = key[:-_CHECKSUM_CHARACTERS]
    if not prefix or len(body) != len(prefix) + _KEY_CHARACTERS or not key.isascii():
        return False
    return body[len(prefix) :].isalnum() and _checksum(body) == key[-_CHECKSUM_CHARACTERS:]


def hash_key(key: str) -> str:
    """Return the SHA-256 in hex: what is stored. Keys have 190 random bits, so nothing slower is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def mask_key(key: str) -> str:
    """Return what may be shown of a key: apc_...x4f2. Nothing of a key that is too short to hide."""
    shown = key[-_MASK_CHARACTERS:] if len(key) >= _KEY_CHARACTERS else ""
    return f"{_key_prefix(key)}...{shown}"


def _spell(value: int) -> str:
    if value >> 128:
        msg = "the time does not fit an id"
        raise ValueError(msg)
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(120, -1, -_PAIR_BITS)])


def _key_prefix(key: str) -> str:
    return next((prefix for prefix in KEY_PREFIXES if key.startswith(prefix)), "")


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM_CHARACTERS)


def _base62(value: int, width: int) -> str:
    digits: list[str] = []
    for _ in range(width):
        value, digit = divmod(value, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
