"""OpenAI's errors."""

from __future__ import annotations

import orjson

from om_proxy.providers.sandbox.exchange import Call, Problem, Reply
from om_proxy.providers.sandbox.frame import data_frame
from om_proxy.providers.sandbox.openai.answer import JSON, headers

# Status -> error type, code and message where the problem names none.
_ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request is invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    # OpenAI itself says 429 here; compatible providers say 402.
    402: ("insufficient_quota", "insufficient_quota", "Insufficient balance."),
    403: (
        "request_forbidden",
        "unsupported_country_region_territory",
        "Country, region, or territory not supported",
    ),
    404: ("invalid_request_error", None, "The requested resource does not exist."),
    413: ("invalid_request_error", "request_too_large", "The request body is too large."),
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
        (JSON, *headers(problem.status, call)),
        (orjson.dumps({"error": error}),),
        switches=call.switches,
    )


def stream_error(call: Call) -> bytes:  # noqa: ARG001 - the same for every call, but not in every family.
    """Report an error in mid-stream: a frame with a top-level `error`, and no [DONE] after it."""
    kind, code, message = _ERRORS[500]
    return data_frame({"error": {"message": message, "type": kind, "param": None, "code": code}})
