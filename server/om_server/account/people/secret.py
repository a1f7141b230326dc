"""Secrets that stand for a person for a while: sessions, and the links in mails. Only their hash is kept."""

import base64
import re
from collections.abc import Callable

SESSION = "oms_"
INVITE = "omi_"
RESET = "omr_"

# 192 bits: the least multiple of both bytes and base64 characters that is no fewer than a key's 190.
_RANDOM_BYTES = 24
_BODY = re.compile(r"[A-Za-z0-9_-]{32}")


def new_secret(prefix: str, random_bytes: Callable[[int], bytes]) -> str:
    """Return a secret that may stand in a URL as it is."""
    return prefix + base64.urlsafe_b64encode(random_bytes(_RANDOM_BYTES)).decode()


def credible(secret: str, prefix: str) -> bool:
    """Tell whether a secret is worth a look-up."""
    return secret.startswith(prefix) and _BODY.fullmatch(secret.removeprefix(prefix)) is not None
