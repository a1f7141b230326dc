"""Gemini's answers around their content: headers, and plain bodies."""

from __future__ import annotations

from om_proxy.providers.sandbox.exchange import Call, Headers, Reply
from om_proxy.providers.sandbox.frame import pretty_json

# No id of the request and no rate limits: Gemini sends neither.
HEADERS: Headers = (
    ("server", "scaffolding on HTTPServer2"),
    ("vary", "Origin"),
    ("vary", "X-Origin"),
    ("vary", "Referer"),
    ("server-timing", "gfet4t7; dur=12"),
    ("x-content-type-options", "nosniff"),
    ("alt-svc", 'h3=":443"; ma=2592000'),
)
JSON = ("content-type", "application/json; charset=UTF-8")
EVENTS = ("content-type", "text/event-stream")


def object_reply(call: Call, payload: dict[str, object]) -> Reply:
    """Answer with a JSON object."""
    return body_reply(call, pretty_json(payload))


def body_reply(call: Call, body: bytes) -> Reply:
    """Answer with JSON that is written already."""
    return Reply(200, (JSON, *HEADERS), frames=(body,), switches=call.switches)
