"""Passwords: Argon2id, its cost in one place, and the same work for an address that nobody has."""

import contextlib
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from om_server.core.errors import InvalidArgument, Overloaded

CHARACTERS_MIN = 10
BYTES_MAX = 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """What one hash costs: the least that OWASP's Password Storage Cheat Sheet asks of Argon2id.

    `together` bounds the hashes that run at once in a process (150 MiB in all), so that a flood of
    sign-ins takes neither the memory nor all threads from other calls.
    """

    passes: int = 2
    memory_kib: int = 19_456
    lanes: int = 1
    together: int = 8


class PasswordHashing:
    """Makes and checks hashes. It blocks for tens of milliseconds, outside of any transaction."""

    def __init__(self, cost: Cost) -> None:
        self._hasher = PasswordHasher(
            time_cost=cost.passes, memory_cost=cost.memory_kib, parallelism=cost.lanes, type=Type.ID
        )
        self._seats = threading.BoundedSemaphore(cost.together)
        self._nobody = _hash_of_nobody(cost)

    def hash(self, password: str) -> str:
        """Return the hash to store, with its parameters; OVERLOADED if too many are being made."""
        with self._seat():
            return self._hasher.hash(_normal(password))

    def verify(self, password_hash: str, password: str) -> bool:
        """Tell whether the password is the right one. An empty hash takes as long and is never right."""
        with self._seat():
            try:
                self._hasher.verify(password_hash or self._nobody, _normal(password))
            except (VerificationError, InvalidHashError):
                return False
        return bool(password_hash)

    def outdated(self, password_hash: str) -> bool:
        """Tell whether the hash was made at another cost, and should be made again."""
        return self._hasher.check_needs_rehash(password_hash)

    @contextlib.contextmanager
    def _seat(self) -> Iterator[None]:
        if not self._seats.acquire(blocking=False):
            raise Overloaded
        try:
            yield
        finally:
            self._seats.release()


def check_password(password: str, field: str) -> None:
    """Refuse a new password that is too short, or so long that hashing it is an attack."""
    if len(password) < CHARACTERS_MIN:
        raise InvalidArgument(field, f"fewer than {CHARACTERS_MIN} characters")
    if len(password.encode()) > BYTES_MAX:
        raise InvalidArgument(field, f"more than {BYTES_MAX} bytes")


def _hash_of_nobody(cost: Cost) -> str:
    """Return a well-formed hash that no known password has; checking one against it costs as any other."""
    salt, digest = "A" * 22, "A" * 43
    return f"$argon2id$v=19$m={cost.memory_kib},t={cost.passes},p={cost.lanes}${salt}${digest}"


def _normal(password: str) -> str:
    """Return the one form of a password that keyboards may type in several (RFC 8265)."""
    return unicodedata.normalize("NFC", password)
