"""The OpenAI family: its addresses, keys, errors and headers."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus

import orjson

from om_proxy.providers.sandbox import chat
from om_proxy.providers.sandbox.body import read_body
from om_proxy.providers.sandbox.exchange import (
    Call,
    Headers,
    Incoming,
    Operation,
    Problem,
    Refused,
    Reply,
)
from om_proxy.providers.sandbox.frame import data_frame
from om_proxy.providers.sandbox.script import require_model

MALFORMED = Problem(
    400,
    "We could not parse the JSON body of your request. The OpenAI API expects a JSON payload, but what was "
    "sent was not valid JSON.",
)

_MODELS = ("gpt-4o", "gpt-4o-2024-08-06", "gpt-5", "gpt-5-2025-08-07", "gpt-5.6", "gpt-5.6-sol")
_MODELS_CREATED = int(datetime(2025, 8, 7, tzinfo=UTC).timestamp())

# Status -> error type, code and message where the problem names none.
_ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request is invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: (
        "request_forbidden",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    404: ("invalid_request_error", None, "The requested resource does not exist."),
    429: ("rate_limit_error", "rate_limit_exceeded", "Rate limit reached for requests. Please slow down."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_error", "server_is_overloaded", "The server is overloaded. Please try again later."),
}
# These codes of a 429 mean an empty account, which has an error type of its own and is not worth a retry.
_QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    }
)

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
_JSON = ("content-type", "application/json")
_EVENTS = ("content-type", "text/event-stream; charset=utf-8")


def find(incoming: Incoming) -> Operation:
    """Find the operation of an address under /v1."""
    operation = _OPERATIONS.get((incoming.method, incoming.path))
    if operation is None and incoming.method == "GET" and incoming.path.startswith("/v1/models/"):
        operation = _show_model
    if operation is None:
        raise Refused(Problem(404, f"Invalid URL ({incoming.method} {incoming.path})"))
    return operation


def check_key(incoming: Incoming) -> None:
    """Want `Authorization: Bearer`."""
    if not incoming.bearer:
        message = (
            "You didn't provide an API key. You need to provide your API key in an Authorization header "
            "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
        raise Refused(Problem(401, message))
    if incoming.bearer == "invalid":
        raise Refused(Problem(401))


def refuse(problem: Problem, call: Call) -> Reply:
    """Write an error in OpenAI's form."""
    fallback = _ERRORS[500 if problem.status >= 500 else 400]  # noqa: PLR2004 - the class of status codes.
    kind, code, message = _ERRORS.get(problem.status, fallback)
    if problem.message is None:
        code = problem.code or code
    else:
        # A sentence of its own comes with a code of its own, or with none.
        message, code = problem.message, problem.code
    if code in _QUOTA_CODES:
        kind = "insufficient_quota"
    error = {"message": message, "type": kind, "param": problem.param, "code": code}
    return Reply(
        problem.status,
        (_JSON, *_headers(problem.status, call)),
        (orjson.dumps({"error": error}),),
        switches=call.switches,
    )


def stream_error(call: Call) -> bytes:  # noqa: ARG001 - the same for every call, but not in every family.
    """Report an error in mid-stream: a frame with a top-level `error`, and no [DONE] after it."""
    kind, code, message = _ERRORS[500]
    return data_frame({"error": {"message": message, "type": kind, "param": None, "code": code}})


def _complete_chat(call: Call) -> Reply:
    completion = chat.decide(read_body(call.incoming, MALFORMED), call.switches)
    if completion.streamed:
        return _reply(call, *chat.completion_frames(completion, call.stamp), streamed=True)
    return _reply(call, chat.completion_body(completion, call.stamp))


def _list_models(call: Call) -> Reply:
    return _reply(call, orjson.dumps({"object": "list", "data": [_model(name) for name in _MODELS]}))


def _show_model(call: Call) -> Reply:
    name = call.incoming.path.removeprefix("/v1/models/")
    return _reply(call, orjson.dumps(_model(require_model(name, f"The model '{name}' does not exist"))))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _MODELS_CREATED, "owned_by": "system"}


def _reply(call: Call, *frames: bytes, streamed: bool = False) -> Reply:
    headers = (_EVENTS if streamed else _JSON, *_headers(200, call))
    return Reply(200, headers, frames=frames, streamed=streamed, switches=call.switches)


def _headers(status: int, call: Call) -> Headers:
    headers = (
        *_HEADERS,
        ("x-request-id", f"req_{call.stamp.token}"),
        ("x-ratelimit-remaining-requests", "0" if status == HTTPStatus.TOO_MANY_REQUESTS else "9999"),
    )
    seconds = call.switches.retry_seconds(status)
    if seconds is None:
        return headers
    return (*headers, ("retry-after", str(seconds)), ("retry-after-ms", str(seconds * 1000)))


_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/v1/chat/completions"): _complete_chat,
    ("GET", "/v1/models"): _list_models,
}
