"""The Anthropic family: its addresses, keys, errors and headers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus

import orjson

from om_proxy.providers.sandbox.anthropic import batch, message
from om_proxy.providers.sandbox.body import read_body
from om_proxy.providers.sandbox.exchange import (
    Call,
    Headers,
    Incoming,
    Operation,
    Problem,
    Refused,
    Reply,
    Stamp,
)
from om_proxy.providers.sandbox.frame import event_frame
from om_proxy.providers.sandbox.script import require_model

MALFORMED = Problem(400, "The request body is not valid JSON.")

_MODELS = (
    ("claude-opus-4-8", "Claude Opus 4.8"),
    ("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5"),
    ("claude-sonnet-4-20250514", "Claude Sonnet 4"),
)

# Status -> error type and message where the problem names none.
_ERRORS = {
    400: ("invalid_request_error", "The request is invalid."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not found"),
    409: ("conflict_error", "The request conflicts with the current state of the resource."),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your account's rate limit. Please try again later."),
    500: ("api_error", "Internal server error"),
    503: ("api_error", "Service temporarily unavailable"),
    504: ("timeout_error", "The request timed out."),
    529: ("overloaded_error", "Overloaded"),
}
# Statuses that the real service invites to retry, and it says so.
_RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504, 529})

_HEADERS: Headers = (
    ("server", "cloudflare"),
    ("anthropic-organization-id", "5c9f3b7e-0d5d-4f0e-9a57-51a1a7ed0001"),
    ("cf-cache-status", "DYNAMIC"),
    ("x-robots-tag", "none"),
)
# Family of limits -> limit, and what is left of it.
_LIMITS = (
    ("requests", 4_000, 3_999),
    ("tokens", 480_000, 479_000),
    ("input-tokens", 400_000, 399_000),
    ("output-tokens", 80_000, 80_000),
)
_JSON = ("content-type", "application/json")
_LINES = ("content-type", "application/x-jsonl")
_EVENTS = ("content-type", "text/event-stream; charset=utf-8")


def find(incoming: Incoming) -> Operation:
    """Find the operation of an address under /v1."""
    operation = _OPERATIONS.get((incoming.method, incoming.path)) or _below(incoming)
    if operation is None:
        raise Refused(Problem(404))
    return operation


def _below(incoming: Incoming) -> Operation | None:
    for (method, pattern), operation in _BELOW.items():
        if incoming.method == method and pattern.fullmatch(incoming.path):
            return operation
    return None


def check_key(incoming: Incoming) -> None:
    """Want `x-api-key`, or Bearer as newer SDKs send it, and a version of the API."""
    key = incoming.headers.get("x-api-key") or incoming.bearer
    if not key:
        raise Refused(Problem(401, "x-api-key header is required"))
    if key == "invalid":
        raise Refused(Problem(401))
    if not incoming.headers.get("anthropic-version"):
        raise Refused(Problem(400, "anthropic-version: header is required"))


def refuse(problem: Problem, call: Call) -> Reply:
    """Write an error in Anthropic's form."""
    fallback = _ERRORS[500 if problem.status >= 500 else 400]  # noqa: PLR2004 - the class of status codes.
    kind, text = _ERRORS.get(problem.status, fallback)
    # Codes such as model_not_found are other families' words; only a switch sets one here.
    details = {"error_code": call.switches.error_code} if call.switches.error_code else None
    payload = {
        "type": "error",
        "error": {"type": kind, "message": problem.message or text, "details": details},
        "request_id": _request_id(call.stamp),
    }
    headers = (
        _JSON,
        *_headers(problem.status, call),
        ("x-should-retry", "true" if problem.status in _RETRIED else "false"),
    )
    return Reply(problem.status, headers, frames=(orjson.dumps(payload),), switches=call.switches)


def stream_error(call: Call) -> bytes:
    """Report an error in mid-stream: an `error` event."""
    kind, text = _ERRORS[529]
    error = {"type": kind, "message": text, "details": None}
    return event_frame({"type": "error", "error": error, "request_id": _request_id(call.stamp)}, 0)


def _create_message(call: Call) -> Reply:
    decided = message.decide(read_body(call.incoming, MALFORMED), call.switches)
    if decided.streamed:
        frames = message.message_frames(decided, call.stamp)
        return Reply(
            200, (_EVENTS, *_headers(200, call)), frames=frames, streamed=True, switches=call.switches
        )
    return _reply(call, message.message_body(decided, call.stamp))


def _count_tokens(call: Call) -> Reply:
    return _reply(call, message.count_body(read_body(call.incoming, MALFORMED), call.switches))


def _list_models(call: Call) -> Reply:
    data = [_model(name, title) for name, title in _MODELS]
    ends = {"has_more": False, "first_id": _MODELS[0][0], "last_id": _MODELS[-1][0]}
    return _reply(call, orjson.dumps({"data": data, **ends}))


def _show_model(call: Call) -> Reply:
    name = require_model(call.incoming.path.removeprefix("/v1/models/"), "model not found")
    return _reply(call, orjson.dumps(_model(name, dict(_MODELS).get(name, name))))


def _model(name: str, title: str) -> dict[str, object]:
    return {
        "type": "model",
        "id": name,
        "display_name": title,
        "created_at": "2025-09-29T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
    }


def _create_batch(call: Call) -> Reply:
    return _reply(call, batch.create(call, read_body(call.incoming, MALFORMED)))


def _show_batch(call: Call) -> Reply:
    return _reply(call, batch.show(call))


def _list_batches(call: Call) -> Reply:
    return _reply(call, batch.show_all(call))


def _cancel_batch(call: Call) -> Reply:
    return _reply(call, batch.cancel(call))


def _delete_batch(call: Call) -> Reply:
    return _reply(call, batch.delete(call))


def _show_results(call: Call) -> Reply:
    return _reply(call, batch.results(call), _LINES)


def _reply(call: Call, body: bytes, content_type: tuple[str, str] = _JSON) -> Reply:
    return Reply(200, (content_type, *_headers(200, call)), frames=(body,), switches=call.switches)


def _headers(status: int, call: Call) -> Headers:
    limited = status == HTTPStatus.TOO_MANY_REQUESTS
    headers = (
        *_HEADERS,
        ("request-id", _request_id(call.stamp)),
        *_limit_headers(call.stamp.created, limited=limited),
    )
    seconds = call.switches.retry_seconds(status)
    return headers if seconds is None else (*headers, ("retry-after", str(seconds)))


# One second's worth of answers share these twelve headers.
@lru_cache(maxsize=8)
def _limit_headers(created: int, *, limited: bool) -> Headers:
    reset = datetime.fromtimestamp(created + 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return tuple(
        (f"anthropic-ratelimit-{name}-{what}", value)
        for name, limit, left in _LIMITS
        for what, value in (
            ("limit", str(limit)),
            ("remaining", "0" if limited else str(left)),
            ("reset", reset),
        )
    )


def _request_id(stamp: Stamp) -> str:
    return f"req_{stamp.token}"


_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/v1/messages"): _create_message,
    ("POST", "/v1/messages/count_tokens"): _count_tokens,
    ("GET", "/v1/models"): _list_models,
    ("POST", "/v1/messages/batches"): _create_batch,
    ("GET", "/v1/messages/batches"): _list_batches,
}
_BATCH = r"/v1/messages/batches/[^/]+"
_BELOW: dict[tuple[str, re.Pattern[str]], Operation] = {
    ("GET", re.compile(r"/v1/models/[^/]+")): _show_model,
    ("GET", re.compile(_BATCH)): _show_batch,
    ("DELETE", re.compile(_BATCH)): _delete_batch,
    ("POST", re.compile(f"{_BATCH}/cancel")): _cancel_batch,
    ("GET", re.compile(f"{_BATCH}/results")): _show_results,
}
