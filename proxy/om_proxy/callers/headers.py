"""Which headers pass through: to the provider, and back. Pure; every request builds its own list."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from multidict import CIMultiDict, MultiMapping

from om_proxy.metering.decode import READABLE_CODINGS
from om_proxy.secret import Credential

_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

# The credential is put back in its one header; whatever else looks like a key is another provider's.
_CREDENTIALS: Final = frozenset({"authorization", "x-api-key", "x-goog-api-key", "api-key"})

# Set anew for the upstream request, ours, or telling the provider who the end user is.
_REQUEST_DROPPED: Final = (
    _HOP_BY_HOP
    | _CREDENTIALS
    | {
        "host",
        "content-length",
        "expect",
        "cookie",
        "x-sandbox",
        "x-provider-key",
        "forwarded",
        "via",
        "x-real-ip",
        "true-client-ip",
        "accept-encoding",
        "access-control-request-method",
        "access-control-request-headers",
    }
)
_REQUEST_DROPPED_PREFIXES: Final = ("x-om-", "x-forwarded-", "cf-")

# Alt-Svc would send clients past us, a cookie would tie callers together, CORS is the browser's business
# with us, and what begins with x-om- is ours to say.
_RESPONSE_DROPPED: Final = _HOP_BY_HOP | {"alt-svc", "set-cookie", "set-cookie2"}
_RESPONSE_DROPPED_PREFIXES: Final = ("access-control-", "x-om-")

# Callers and providers use the same names again and again, and anybody may make up others.
_NAMES_MAX: Final = 1024

HeaderList = list[tuple[str, str]]


def as_sent(raw: Iterable[tuple[bytes, bytes]]) -> CIMultiDict[str]:
    """Read raw headers with their names as they were written; the library normalises well-known ones.

    A repeated name takes the spelling of its first: of two spellings the library's client sends only one.
    """
    headers = list(raw)
    if len(set(map(bytes.lower, [name for name, _ in headers]))) != len(headers):
        spellings: dict[bytes, bytes] = {}
        headers = [(spellings.setdefault(name.lower(), name), value) for name, value in headers]
    try:
        return CIMultiDict([(name.decode(), value.decode()) for name, value in headers])
    except UnicodeDecodeError:
        return CIMultiDict([(_text(name), _text(value)) for name, value in headers])


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def request_headers(
    received: MultiMapping[str],
    credential: Credential,
    *,
    defaults: tuple[tuple[str, str], ...] = (),
    identity: bool = False,
) -> HeaderList:
    """List the headers for the provider.

    `defaults` are added where the client sent none of the name. `identity` asks for an answer without content
    coding, which is needed where the answer's bytes are edited.
    """
    dropped = _named_by_connection(received)
    kept = [
        (name, value)
        for name, value in received.items()
        if _goes_up(name) and not (dropped and name.lower() in dropped)
    ]
    # After the filter, so that `Connection: authorization` cannot remove the key.
    kept.append((credential.header, credential.value.reveal()))
    kept += [(name, value) for name, value in defaults if name not in received]
    coding = "identity" if identity else readable_codings(received.getall("accept-encoding", []))
    if coding is not None:
        kept.append(("Accept-Encoding", coding))
    return kept


def response_headers(received: MultiMapping[str], *, body_changed: bool = False) -> HeaderList:
    """List the headers for the client, repeated ones repeated. The length is kept iff the bytes are."""
    dropped = _named_by_connection(received)
    if body_changed:
        dropped |= {"content-length"}
    return [
        (name, value)
        for name, value in received.items()
        if _goes_down(name) and not (dropped and name.lower() in dropped)
    ]


@lru_cache(_NAMES_MAX)
def _goes_up(name: str) -> bool:
    low = name.lower()
    return low not in _REQUEST_DROPPED and not low.startswith(_REQUEST_DROPPED_PREFIXES)


@lru_cache(_NAMES_MAX)
def _goes_down(name: str) -> bool:
    low = name.lower()
    return low not in _RESPONSE_DROPPED and not low.startswith(_RESPONSE_DROPPED_PREFIXES)


def readable_codings(accepted: list[str]) -> str | None:
    """Narrow Accept-Encoding to what the meter can decode; None where the client sent none.

    A client that offers another coding would else get answers whose usage nobody can read.
    """
    if not accepted:
        return None
    offers = [offer.strip() for line in accepted for offer in line.split(",")]
    readable = [offer for offer in offers if offer.split(";")[0].strip().lower() in READABLE_CODINGS]
    return ", ".join(readable) or "identity"


def unforwardable(received: MultiMapping[str]) -> str | None:
    """Name the first header whose value cannot be sent on as it is. Ours are not sent on."""
    together = "".join(received.values())
    if together.isascii() and together.isprintable():
        return None
    for name, value in received.items():
        if value.isascii() and (value.isprintable() or value.replace("\t", " ").isprintable()):
            continue
        if not name.lower().startswith("x-om-"):
            return name
    return None


def _named_by_connection(received: MultiMapping[str]) -> frozenset[str]:
    named = received.getall("connection", [])
    if not named:
        return frozenset()
    return frozenset(token.strip().lower() for line in named for token in line.split(","))
