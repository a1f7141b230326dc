"""OpenAI's answers around their content: headers, and plain bodies or streams."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

import orjson

from om_proxy.providers.sandbox.exchange import Call, Headers, Reply

JSON = ("content-type", "application/json")
EVENTS = ("content-type", "text/event-stream; charset=utf-8")
TEXT = ("content-type", "text/plain; charset=utf-8")
LINES = ("content-type", "application/octet-stream")

_HEADERS: Headers = (
    ("server", "cloudflare"),
    ("openai-organization", "simulated-organization"),
    ("openai-project", "proj_simulated"),
    ("openai-processing-ms", "12"),
    ("openai-version", "2020-10-01"),
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-limit-tokens", "2000000"),
    ("x-ratelimit-remaining-tokens", "1999984"),
    ("x-ratelimit-reset-requests", "6ms"),
    ("x-ratelimit-reset-tokens", "0s"),
    ("alt-svc", 'h3=":443"; ma=86400'),
    # Two of one name: a proxy must keep repeated headers repeated.
    ("set-cookie", "__cf_bm=simulated; Path=/; HttpOnly; Secure; SameSite=None"),
    ("set-cookie", "_cfuvid=simulated; Path=/; HttpOnly; Secure; SameSite=None"),
)


def headers(status: int, call: Call) -> Headers:
    """Give the headers of every answer with this status."""
    answered = (
        *_HEADERS,
        ("x-request-id", f"req_{call.stamp.token}"),
        ("x-ratelimit-remaining-requests", "0" if status == HTTPStatus.TOO_MANY_REQUESTS else "9999"),
    )
    seconds = call.switches.retry_seconds(status)
    if seconds is None:
        return answered
    return (*answered, ("retry-after", str(seconds)), ("retry-after-ms", str(seconds * 1000)))


def object_reply(call: Call, payload: object) -> Reply:
    """Answer with a JSON object."""
    return body_reply(call, orjson.dumps(payload))


def body_reply(call: Call, body: bytes, content_type: tuple[str, str] = JSON) -> Reply:
    """Answer with bytes."""
    return Reply(200, (content_type, *headers(200, call)), frames=(body,), switches=call.switches)


def event_reply(call: Call, frames: Iterable[bytes]) -> Reply:
    """Answer with a stream of events."""
    return Reply(
        200, (EVENTS, *headers(200, call)), frames=tuple(frames), streamed=True, switches=call.switches
    )
