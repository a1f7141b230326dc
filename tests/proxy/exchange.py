"""One metered exchange, in pieces: for the tests of meters, of golden cases and of what they are made of."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence

import orjson

from om_proxy.call.call import Call
from om_proxy.call.provider import Provider
from om_proxy.call.route import RouteTable
from om_proxy.metering.reading import Line, Metered
from om_proxy.providers import all_providers, compatible_providers
from om_proxy.refusals.refusal import Problem
from om_proxy.upstream.meter import open_meter

CHAT_PATH = "/v1/chat/completions"
MESSAGES_PATH = "/v1/messages"
GENERATE_PATH = "/v1beta/models/gemini-2.5-flash:generateContent"
STREAM_PATH = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"

EVENTS = "text/event-stream; charset=utf-8"
JSON = "application/json"


def provider_named(name: str) -> Provider:
    return next(provider for provider in (*all_providers(), *compatible_providers()) if provider.name == name)


def call_of(
    path: str, body: object, *, method: str = "POST", provider: str = "", content_type: str = ""
) -> Call:
    """Read a request as the proxy would."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    answer = read_of(path, raw, method=method, provider=provider, content_type=content_type)
    assert isinstance(answer, Call), answer
    return answer


def read_of(
    path: str, body: bytes, *, method: str = "POST", provider: str = "", content_type: str = ""
) -> Call | Problem:
    """Understand a request to a path of its provider; of a provider that is asked for by name if given."""
    asked = (provider_named(provider),) if provider else all_providers()
    target = RouteTable(route for one in asked for route in one.routes).match(method, path)
    assert target is not None
    return provider_named(target.route.provider).read(target, body, content_type=content_type)


def meter_in_pieces(
    call: Call, pieces: Iterable[bytes], *, content_type: str = EVENTS, encoding: str = ""
) -> Metered:
    meter = open_meter(
        provider_named(call.provider), call, content_type=content_type, content_encoding=encoding
    )
    for piece in pieces:
        meter.feed(piece)
    return meter.finish()


def events(frames: Iterable[object], newline: bytes = b"\n", *, tail: bytes | None = None) -> bytes:
    """Write server-sent events: a mapping becomes JSON, Anthropic's with its event line, text stays."""
    written = []
    for frame in frames:
        data = frame.encode() if isinstance(frame, str) else orjson.dumps(frame)
        kind = frame.get("type") if isinstance(frame, Mapping) else None
        name = b"event: " + str(kind).encode() + newline if kind else b""
        written.append(name + b"data: " + data + newline + newline)
    return b"".join(written) + (tail or b"")


def random_pieces(data: bytes, seed: int) -> Iterator[bytes]:
    """Cut at random places; the seed is in the parameters of the test, and so in its failure."""
    source = random.Random(seed)
    most = source.choice((1, 2, 7, 60, 4_000))
    position = 0
    while position < len(data):
        size = source.randint(1, most)
        yield data[position : position + size]
        position += size


def amounts(line: Line) -> dict[str, int | None]:
    return {str(quantity.unit): quantity.amount for quantity in line.usage.quantities}


def pairs(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}
