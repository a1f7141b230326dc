"""Keys that pass through: readable only where they are sent, masked everywhere else."""

from __future__ import annotations

import hmac
from typing import Self

from om_proxy.value import value_type

_MASK = "***"


class Secret:
    """Text that no log line, traceback, pickle or format string can show by accident."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Give the text to the one place that sends or hashes it."""
        return self._text

    def __repr__(self) -> str:
        return _MASK

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str) -> str:
        return format(_MASK, spec)

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._bytes(), other._bytes())

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, (_MASK,)

    # object.__getstate__ would hand out the slots.
    def __getstate__(self) -> None:
        return None

    # Copies go through __reduce__ otherwise, and would carry the mask as if it were the key.
    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def _bytes(self) -> bytes:
        return self._text.encode(errors="surrogatepass")


@value_type(frozen=True, slots=True)
class Credential:
    """The provider's key, in the one header in which it goes upstream."""

    header: str
    value: Secret
