"""Every answer of our own, in the shape that the caller's SDK parses.

A Problem says what is wrong; render() dresses it for a provider's clients. Bodies that are published word for
word have a form of their own. No text ever repeats a header value, a key or a body.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

import orjson

_NANO = 1_000_000_000
_DOMAIN = "openmonetize.io"
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"


class Shape(Enum):
    """Whose clients have to parse the body."""

    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"
    GEMINI = "Gemini"


class Form(Enum):
    """How much of the body is fixed."""

    RICH = "rich"  # Every field that any of the SDKs reads.
    FAMILY = "family"  # The provider's own minimal shape, as published.
    PUBLISHED = "published"  # The same three keys on every route, as published.


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, before it has a shape."""

    status: int
    code: str
    type: str
    rpc_status: str  # Gemini's word: a google.rpc.Code.
    message: str
    param: str | None = None
    details: tuple[tuple[str, str], ...] = ()
    form: Form = Form.RICH
    retry: bool = False  # Whether an SDK may repeat the call by itself: only while nothing was sent upstream.
    retry_after_s: int | None = None
    output_tokens_max: int | None = None  # The largest output cap with which the call could be paid.


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer, ready to be sent."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]


def render(problem: Problem, shape: Shape, *, request_id: str) -> Refusal:
    """Dress a problem for the clients of a provider."""
    headers = [
        ("Content-Type", "application/json"),
        ("Cache-Control", "no-store"),
        ("Vary", "Authorization"),
        # OpenAI's SDKs read the first of these, Anthropic's the second.
        ("x-request-id", request_id),
        ("request-id", request_id),
        ("x-om-request-id", request_id),
    ]
    if not problem.retry:
        headers.append(("x-should-retry", "false"))
    if problem.retry_after_s is not None:
        headers.append(("retry-after", str(problem.retry_after_s)))
    body = orjson.dumps(_body(problem, shape, request_id=request_id))
    return Refusal(problem.status, body, tuple(headers))


def _body(problem: Problem, shape: Shape, *, request_id: str) -> dict[str, object]:
    if problem.form is Form.PUBLISHED:
        return _openai_minimal(problem)
    if problem.form is Form.FAMILY:
        return _FAMILY_BODIES[shape](problem)
    if shape is Shape.GEMINI:
        return _gemini_rich(problem)
    return {
        "type": "error",
        "error": {
            "type": problem.type,
            "message": problem.message,
            "code": problem.code,
            "param": problem.param,
            "status": problem.rpc_status,
            "details": {"error_code": problem.code, **dict(problem.details)},
        },
        "request_id": request_id,
    }


def _openai_minimal(problem: Problem) -> dict[str, object]:
    return {"error": {"message": problem.message, "type": problem.type, "code": problem.code}}


def _anthropic_minimal(problem: Problem) -> dict[str, object]:
    return {"type": "error", "error": {"type": problem.type, "message": problem.message}}


def _gemini_minimal(problem: Problem) -> dict[str, object]:
    # The code must be an integer: an SDK of Google's crashes on a string.
    return {"error": {"code": problem.status, "message": problem.message, "status": problem.rpc_status}}


def _gemini_rich(problem: Problem) -> dict[str, object]:
    metadata = dict(problem.details)
    if problem.param is not None:
        metadata["field"] = problem.param
    info = {
        "@type": _ERROR_INFO,
        "reason": problem.code.upper(),
        "domain": _DOMAIN,
        "metadata": metadata,
    }
    error = {"code": problem.status, "message": problem.message, "status": problem.rpc_status}
    return {"error": {**error, "details": [info]}}


_FAMILY_BODIES = {
    Shape.OPENAI: _openai_minimal,
    Shape.ANTHROPIC: _anthropic_minimal,
    Shape.GEMINI: _gemini_minimal,
}


def credits_text(nanos: int) -> str:
    """Write nano-credits as an exact decimal number of credits."""
    text = format(Decimal(nanos) / _NANO, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
