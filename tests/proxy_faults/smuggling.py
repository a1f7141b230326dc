"""Requests that two parsers may read differently: where that happens, one caller speaks for another."""

from __future__ import annotations

from collections.abc import Iterator

from tests.proxy.one_edge import CHAT, HEADERS

_PATH = b"/v1/chat/completions"
_NEXT = b"POST /smuggled HTTP/1.1\r\nHost: sk-canary\r\nContent-Length: 0\r\n\r\n"
_LENGTH = b"Content-Length: %d" % len(CHAT)
_CHUNKED = b"Transfer-Encoding: chunked"
_IN_CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(CHAT), CHAT)


def cases() -> Iterator[tuple[str, bytes]]:
    """Give every case with a name that tells what is odd about it."""
    yield from _lengths()
    yield from _codings()
    yield from _chunk_sizes()
    yield from _chunk_ends()
    yield from _fields()
    yield from _lines()
    yield from _ends()


def request(
    *framing: bytes,
    body: bytes = CHAT,
    line: bytes = b"POST " + _PATH + b" HTTP/1.1",
    host: bytes = b"Host: a",
    newline: bytes = b"\r\n",
) -> bytes:
    """Write a request with every header that it needs, and its framing."""
    mine = [text.encode() for text in HEADERS]
    lines = [line, *([host] if host else []), *mine, *framing, b"", b""]
    return newline.join(lines) + body


def _lengths() -> Iterator[tuple[str, bytes]]:
    size = b"%d" % len(CHAT)
    values = [
        size, b"+" + size, b"-" + size, b"0x" + size, size + b".0", size + b"e0", b" " + size, size + b" ",
        b"\t" + size, b"0" + size, b"00000000000" + size, size + b", " + size, size + b"," + size, b"", b"a",
        size + b"a", size + b";", b'"' + size + b'"', b"9" * 30, b"18446744073709551616", b"-0", b"0",
        b"\xb2", size + b"\x00", size + b"\x0b", b"1_0", "\u0663".encode(), b"%d" % (len(CHAT) - 1),
        b"%d" % (len(CHAT) + 1), b"1 2", b"NaN", b"1\t1",
    ]  # fmt: skip
    for value in values:
        yield f"length {value!r}", request(b"Content-Length: " + value)
        yield f"length {value!r} and more behind", request(b"Content-Length: " + value) + _NEXT
    for name in (b"Content-Length ", b" Content-Length", b"Content Length", b"Content_Length",
                 b"Content-Length\t",
                 b"CONTENT-LENGTH", b"Content-Length\x00", b"Content-Lengt\xe9",
                 b"Content-Length:"):  # fmt: skip
        yield f"name {name!r}", request(name + b": " + size)
    pairs = [(size, size), (size, b"0"), (b"0", size), (size, b"1"), (b"", size), (size, b"+" + size)]
    for first, second in pairs:
        yield (
            f"lengths {first!r} {second!r}",
            request(b"Content-Length: " + first, b"Content-Length: " + second),
        )


def _codings() -> Iterator[tuple[str, bytes]]:
    values = [
        b"chunked", b"Chunked", b"CHUNKED", b"chunked ", b" chunked", b"\tchunked", b"chunked\t", b"xchunked",
        b"chunkedx", b"chunked, identity", b"identity, chunked", b"gzip, chunked", b"chunked, gzip",
        b"identity",
        b"gzip", b"chunked, chunked", b",chunked", b"chunked,", b"chunked;q=1", b'"chunked"', b"",
        b"\x0bchunked",
        b"chunked\x00", b"chunked\x0b", b"chu\xadnked", b"cow", b"chunked cow", b"'chunked'", b"chunk",
    ]  # fmt: skip
    for value in values:
        yield f"coding {value!r}", request(b"Transfer-Encoding: " + value, body=_IN_CHUNKS)
        yield (
            f"coding {value!r} and a length",
            request(b"Transfer-Encoding: " + value, _LENGTH, body=_IN_CHUNKS),
        )
        yield (
            f"coding {value!r} and more behind",
            (request(b"Transfer-Encoding: " + value, body=_IN_CHUNKS) + _NEXT),
        )
    yield "a length before a coding", request(_LENGTH, _CHUNKED, body=_IN_CHUNKS)
    yield "two codings", request(_CHUNKED, _CHUNKED, body=_IN_CHUNKS)
    yield "a coding and identity", request(_CHUNKED, b"Transfer-Encoding: identity", body=_IN_CHUNKS)
    yield "identity and a coding", request(b"Transfer-Encoding: identity", _CHUNKED, body=_IN_CHUNKS)
    for name in (b"Transfer-Encoding ", b" Transfer-Encoding", b"Transfer Encoding", b"Transfer_Encoding",
                 b"Transfer-Encoding\x00", b"TRANSFER-ENCODING", b"Transfer-Encoding\t",
                 b"X: y\rTransfer-Encoding",
                 b"X: y\nTransfer-Encoding"):  # fmt: skip
        yield f"name {name!r}", request(name + b": chunked", body=_IN_CHUNKS)
        yield f"name {name!r} and a length", request(name + b": chunked", _LENGTH, body=CHAT)
    yield "chunks in HTTP/1.0", request(_CHUNKED, body=_IN_CHUNKS, line=b"POST " + _PATH + b" HTTP/1.0")


def _chunk_sizes() -> Iterator[tuple[str, bytes]]:
    size = b"%x" % len(CHAT)
    values = [
        size, b"0" + size, b"0x" + size, b"+" + size, b"-" + size, b" " + size, b"\t" + size, size + b" ",
        size + b"\t", size + b";a=b", size + b" ;a", size + b';a="b"', size + b";" + b"e" * 20_000, b"f" * 16,
        b"f" * 17, b"1" + b"0" * 16, b"g", b"", size + b"\x00", size + b"\x0b", size + b"\r",
        b"0" * 40 + size, size + b";\n", size + b";a\rb", size + b"_", b"%d" % len(CHAT), size + b" a",
    ]  # fmt: skip
    for value in values:
        body = value + b"\r\n" + CHAT + b"\r\n0\r\n\r\n"
        yield f"chunk size {value[:40]!r}", request(_CHUNKED, body=body)
        yield f"chunk size {value[:40]!r} and more behind", request(_CHUNKED, body=body) + _NEXT


def _chunk_ends() -> Iterator[tuple[str, bytes]]:
    size = b"%x" % len(CHAT)
    bodies = [
        size + b"\n" + CHAT + b"\r\n0\r\n\r\n", size + b"\r" + CHAT + b"\r\n0\r\n\r\n",
        size + b"\r\n" + CHAT + b"\n0\r\n\r\n", size + b"\r\n" + CHAT + b"0\r\n\r\n",
        size + b"\r\n" + CHAT + b"\r\n0\n\n", size + b"\r\n" + CHAT + b"\r\n0\r\n\n",
        size + b"\r\n" + CHAT + b"\r\n0\r\nX: y\r\n\r\n", size + b"\r\n" + CHAT + b"\r\n0\r\nX y\r\n\r\n",
        size + b"\r\n" + CHAT + b"\r\n0\r\nContent-Length: 3\r\n\r\n", size + b"\r\n" + CHAT + b"\r\n",
        size + b"\r\n" + CHAT + b"xx0\r\n\r\n", size + b"\r\n" + CHAT + b"\r\n0\r\n" + b"\x00\r\n\r\n",
        size + b"\r\n" + CHAT + b"\r\n00000\r\n\r\n", size + b"\r\n" + CHAT + b"\r\n-0\r\n\r\n",
        size + b"\r\n" + CHAT + b"\r\n0;x\r\n\r\n", size + b"\r\n\r\n" + CHAT + b"\r\n0\r\n\r\n",
    ]  # fmt: skip
    for number, body in enumerate(bodies):
        yield f"chunk end {number}", request(_CHUNKED, body=body)
        yield f"chunk end {number} and more behind", request(_CHUNKED, body=body) + _NEXT


def _fields() -> Iterator[tuple[str, bytes]]:
    for text in (b"X: a\r\n b", b"X: a\r\n\tb", b"X\r\n: a", b"X : a", b"X", b": a", b"X: a\x00b",
                 b"X: a\x07b",
                 b"X: a\nY: b", b"X: a\rY: b", b"X: \x7f", b"X:\x00", b"(X): a", b"X/Y: a", b"X\xe9: a",
                 b"X@: a",
                 b"\x00X: a", b"X: a\r\r", b"X: a\n", b"[X]: a", b"X{: a", b'"X": a', b"X,Y: a",
                 b"X;Y: a"):  # fmt: skip
        yield f"field {text!r}", request(text, _LENGTH)
        yield f"field {text!r} first", request(_LENGTH, host=text + b"\r\nHost: a")
    for host in (b"", b"Host: a\r\nHost: a", b"Host: a\r\nHost: b", b"Host a", b"host : a", b"Host: a\r\n b"):
        yield f"host {host!r}", request(_LENGTH, host=host)


def _lines() -> Iterator[tuple[str, bytes]]:
    for line in (b"POST  " + _PATH + b" HTTP/1.1", b"POST " + _PATH + b"  HTTP/1.1",
                 b"POST\t" + _PATH + b" HTTP/1.1",
                 b" POST " + _PATH + b" HTTP/1.1", b"POST " + _PATH, b"POST " + _PATH + b" HTTP/1.2",
                 b"POST " + _PATH + b" HTTP/2.0", b"POST " + _PATH + b" HTTP/0.9",
                 b"POST " + _PATH + b" http/1.1",
                 b"POST " + _PATH + b" HTTP/1.1 ", b"POST " + _PATH + b" HTTP/1.10",
                 b"POST " + _PATH + b" HTTP/11",
                 b"POST " + _PATH + b" HTTPS/1.1", b"PO ST " + _PATH + b" HTTP/1.1",
                 b"POST " + _PATH + b"\x00 HTTP/1.1",
                 b"POST " + _PATH + b" x HTTP/1.1", b"P\x00ST " + _PATH + b" HTTP/1.1",
                 b"POST http://evil/a HTTP/1.1",
                 b"POST http://a" + _PATH + b" HTTP/1.1", b"POST a:443 HTTP/1.1", b"CONNECT a:443 HTTP/1.1",
                 b"POST * HTTP/1.1", b"POST //evil" + _PATH + b" HTTP/1.1", b"POST \\" + _PATH + b" HTTP/1.1",
                 b"POST " + _PATH + b"#x HTTP/1.1", b"POST " + _PATH + b"\xe9 HTTP/1.1", b"POST HTTP/1.1",
                 b"(POST) " + _PATH + b" HTTP/1.1", b"", b"HTTP/1.1 200 OK"):  # fmt: skip
        yield f"line {line!r}", request(_LENGTH, line=line)


def _ends() -> Iterator[tuple[str, bytes]]:
    yield "bare line feeds", request(_LENGTH, newline=b"\n")
    yield "bare carriage returns", request(_LENGTH, newline=b"\r")
    yield "two carriage returns", request(_LENGTH, newline=b"\r\r\n")
    yield "a line feed before a carriage return", request(_LENGTH, newline=b"\n\r")
