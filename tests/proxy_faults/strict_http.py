"""HTTP/1.1 requests read as RFC 9112 writes them, and no more kindly: what the proxy is compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/1\.([01])")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?)")
_DIGITS = re.compile(rb"[0-9]{1,18}")


class Refused(Exception):
    """Not a request."""


@dataclass
class Request:
    """One request, understood."""

    target: bytes
    body: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    def values(self, name: bytes) -> list[bytes]:
        return [value for found, value in self.headers if found.lower() == name]


def read(data: bytes) -> list[Request]:
    """Read every request in the bytes; Refused at the first that is none, or that is not whole."""
    requests: list[Request] = []
    while data:
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            raise Refused
        request = _head(head)
        data = _body(request, rest)
        requests.append(request)
    return requests


def _head(head: bytes) -> Request:
    first, *lines = head.split(b"\r\n")
    line = _LINE.fullmatch(first)
    if line is None or not line[2].startswith(b"/"):
        raise Refused
    request = Request(line[2])
    for text in lines:
        match = _FIELD.fullmatch(text)
        if match is None:
            raise Refused
        request.headers.append((match[1], match[2]))
    if line[3] == b"1" and len(request.values(b"host")) != 1:
        raise Refused
    if request.values(b"transfer-encoding") and line[3] == b"0":
        raise Refused
    return request


def _body(request: Request, rest: bytes) -> bytes:
    """Take the body off and give what follows it."""
    lengths, codings = request.values(b"content-length"), request.values(b"transfer-encoding")
    if codings:
        if lengths or len(codings) != 1 or codings[0].lower() != b"chunked":
            raise Refused
        return _chunks(request, rest)
    if not lengths:
        return rest
    if len(lengths) != 1 or _DIGITS.fullmatch(lengths[0]) is None or int(lengths[0]) > len(rest):
        raise Refused
    size = int(lengths[0])
    request.body = rest[:size]
    return rest[size:]


def _chunks(request: Request, rest: bytes) -> bytes:
    while True:
        line, found, rest = rest.partition(b"\r\n")
        match = _SIZE.fullmatch(line)
        if not found or match is None:
            raise Refused
        size = int(match[1], 16)
        if size == 0:
            return _trailers(rest)
        if rest[size : size + 2] != b"\r\n":
            raise Refused
        request.body += rest[:size]
        rest = rest[size + 2 :]


def _trailers(rest: bytes) -> bytes:
    while True:
        line, found, rest = rest.partition(b"\r\n")
        if not found:
            raise Refused
        if not line:
            return rest
        if _FIELD.fullmatch(line) is None:
            raise Refused
