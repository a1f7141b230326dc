"""Which headers pass through: to the provider, and back. Pure; every request builds its own list."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from multidict import MultiMapping

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

#: Not passed on, and read.
_READ: Final = frozenset({"connection", "accept-encoding"})

_JOINED_BYTES_MAX: Final = 64 * 1024

# Callers and providers use the same names again and again, and anybody may make up others.
_NAMES_MAX: Final = 1024

#: Of our own.
HeaderList = list[tuple[str, str]]
#: As they were written, in their order.
RawHeaders = list[tuple[bytes, bytes]]


def request_headers(
    received: Iterable[tuple[bytes, bytes]],
    credential: Credential,
    *,
    defaults: tuple[tuple[str, str], ...] = (),
    identity: bool = False,
) -> RawHeaders:
    """List the headers for the provider.

    `defaults` are added where the client sent none of the name. `identity` asks for an answer without content
    coding, which is needed where the answer's bytes are edited.
    """
    kept: RawHeaders = []
    read: dict[str, list[bytes]] = {}
    for header in received:
        place = _place_up(header[0])
        if place is None:
            kept.append(header)
        elif place in _READ:
            read.setdefault(place, []).append(header[1])
    kept = _without_named(read.get("connection"), kept)
    # After the filter, so that `Connection: authorization` cannot remove the key.
    kept.append((credential.header.encode(), credential.value.reveal().encode("utf-8", "surrogateescape")))
    kept += [
        (name.encode(), value.encode()) for name, value in defaults if value_of(kept, name.encode()) is None
    ]
    coding = "identity" if identity else readable_codings(tuple(read.get("accept-encoding", ())))
    if coding is not None:
        kept.append((b"Accept-Encoding", coding.encode("latin-1")))
    return kept


def response_headers(received: RawHeaders, *, body_changed: bool = False) -> RawHeaders:
    """List the headers for the client, repeated ones repeated. The length is kept iff the bytes are."""
    kept: RawHeaders = []
    connection: list[bytes] = []
    for header in received:
        place = _place_down(header[0])
        if place is None or (place == "content-length" and not body_changed):
            kept.append(header)
        elif place == "connection":
            connection.append(header[1])
    return _without_named(connection, kept)


@lru_cache(_NAMES_MAX)
def _place_up(name: bytes) -> str | None:
    """Give the name, in small letters, of a header that does not simply go on."""
    low = name.decode("latin-1").lower()
    return low if low in _REQUEST_DROPPED or low.startswith(_REQUEST_DROPPED_PREFIXES) else None


@lru_cache(_NAMES_MAX)
def _place_down(name: bytes) -> str | None:
    low = name.decode("latin-1").lower()
    special = low == "content-length" or low in _RESPONSE_DROPPED
    return low if special or low.startswith(_RESPONSE_DROPPED_PREFIXES) else None


def _without_named(connection: list[bytes] | None, headers: RawHeaders) -> RawHeaders:
    """Drop what `Connection` names besides."""
    if not connection:
        return headers
    named = {token.strip().lower() for line in connection for token in line.split(b",")}
    return [(name, value) for name, value in headers if name.lower() not in named]


def head_of(first_line: bytes, headers: RawHeaders) -> bytes:
    """Write a head, up to where the body begins."""
    return b"\r\n".join((first_line, *[b"%b: %b" % header for header in headers], b"", b""))


def pieces(head: bytes, body: bytes) -> tuple[bytes, ...]:
    """Join a head and its body, so that they leave in one packet, unless that would copy much."""
    return (head + body,) if len(body) <= _JOINED_BYTES_MAX else (head, body)


def value_of(headers: RawHeaders, name: bytes) -> bytes | None:
    """Give the first header of a name, which is in small letters; None where there is none."""
    for found, value in headers:
        if found.lower() == name:
            return value
    return None


@lru_cache(_NAMES_MAX)
def readable_codings(accepted: tuple[bytes, ...]) -> str | None:
    """Narrow Accept-Encoding to what the meter can decode; None where the client sent none.

    A client that offers another coding would else get answers whose usage nobody can read.
    """
    if not accepted:
        return None
    offers = [offer.strip() for line in accepted for offer in line.decode("latin-1").split(",")]
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
