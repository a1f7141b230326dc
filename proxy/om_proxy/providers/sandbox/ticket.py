"""Ids that carry what a later request must know, so that any worker's simulator can answer it."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping

import orjson

from om_proxy.providers.sandbox.body import Body
from om_proxy.providers.sandbox.exchange import Call

_TOKEN_LENGTH = 24
# No longer than a name in an address may be; what does not fit is remembered.
_LENGTH_MAX = 120


def write_ticket(call: Call, prefix: str, facts: Mapping[str, object]) -> str:
    """Make an id out of a prefix, this request's token and facts; facts that say nothing are left out."""
    written = orjson.dumps({name: value for name, value in facts.items() if value})
    plain = f"{prefix}{call.stamp.token[:_TOKEN_LENGTH]}"
    packed = urlsafe_b64encode(written).decode().rstrip("=")
    if len(plain) + len(packed) <= _LENGTH_MAX:
        return plain + packed
    call.shelf.put(plain, written)
    return plain


def read_ticket(call: Call, prefix: str, text: str) -> Body | None:
    """Read the facts of an id; None if `write_ticket` did not make it, or it was forgotten."""
    if not text.startswith(prefix):
        return None
    packed = text.removeprefix(prefix)[_TOKEN_LENGTH:]
    try:
        written = call.shelf.get(text) if not packed else urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        facts = orjson.loads(written or b"")
    except (binascii.Error, ValueError):
        return None
    return Body(facts) if isinstance(facts, dict) else None
