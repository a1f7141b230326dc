"""What the simulator remembers between requests: uploaded files and batches, up to a size in all.

Everything else that a later request asks for is written into the id that the first answer gave.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

_BYTES_MAX = 16 * 1024 * 1024
# What an entry weighs beside its content.
_ENTRY_BYTES = 256


class Shelf:
    """Contents by id; the ones stored first are forgotten first when there is no room."""

    def __init__(self, bytes_max: int = _BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._contents: OrderedDict[str, bytes] = OrderedDict()

    def put(self, key: str, content: bytes) -> None:
        """Remember a content, or replace it; one that is larger than the shelf is forgotten at once."""
        self.drop(key)
        self._contents[key] = content
        self._bytes += len(content) + _ENTRY_BYTES
        while self._bytes > self._bytes_max:
            self.drop(next(iter(self._contents)))

    def get(self, key: str) -> bytes | None:
        """Give a content that is still remembered."""
        return self._contents.get(key)

    def drop(self, key: str) -> bool:
        """Forget a content; false if there is none."""
        content = self._contents.pop(key, None)
        if content is None:
            return False
        self._bytes -= len(content) + _ENTRY_BYTES
        return True

    def listed(self, prefix: str) -> Sequence[str]:
        """List the ids that start so, the newest first."""
        return [key for key in reversed(self._contents) if key.startswith(prefix)]
