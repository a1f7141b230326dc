"""Errors as HTTP tells them: one table from reason and code to status, one value for both families.

A problem comes from the server (an AioRpcError with google.rpc details) or from REST itself (a
DomainError). How its body looks is the family's: transcoded here, documented in documented/endpoint.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType

import grpc
from google.rpc import error_details_pb2, status_pb2

from om_server.core.errors import Code, DomainError
from om_server.rest.request import BodyTooLarge, MediaTypeUnsupported
from om_server.rpc.status import DETAILS_KEY

_STATUSES: Mapping[str, int] = MappingProxyType(
    {
        "CANCELLED": 499,
        "UNKNOWN": 500,
        "INVALID_ARGUMENT": 400,
        "DEADLINE_EXCEEDED": 504,
        "NOT_FOUND": 404,
        "ALREADY_EXISTS": 409,
        "PERMISSION_DENIED": 403,
        "RESOURCE_EXHAUSTED": 429,
        "FAILED_PRECONDITION": 400,
        "ABORTED": 409,
        "OUT_OF_RANGE": 400,
        "UNIMPLEMENTED": 501,
        "INTERNAL": 500,
        "UNAVAILABLE": 503,
        "DATA_LOSS": 500,
        "UNAUTHENTICATED": 401,
    }
)
_STATUSES_BY_REASON: Mapping[str, int] = MappingProxyType(
    {"INSUFFICIENT_FUNDS": 402, "LIMIT_REACHED": 402, "MONTHLY_QUOTA_EXCEEDED": 402}
)

_STATUSES_BY_ERROR: Mapping[type[DomainError], int] = MappingProxyType(
    {
        BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        MediaTypeUnsupported: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    }
)

# What gRPC itself reports has no reason of ours, and its text names addresses and internals.
_LIBRARY_MESSAGES: Mapping[str, str] = MappingProxyType(
    {
        "UNAVAILABLE": "the server cannot be reached; retry",
        "DEADLINE_EXCEEDED": "the server did not answer in time",
        "UNIMPLEMENTED": "the server does not have this operation",
        "RESOURCE_EXHAUSTED": "the server is overloaded; retry later",
    }
)
_TOO_LARGE = "message larger than max"
_FIELDS_MAX = 20
_SNAKE = re.compile(r"\[[^\]]*\]|_([a-z0-9])")


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that is wrong with one field; the rule is a word for a program, empty if there is none."""

    field: str
    message: str
    rule: str = ""


class RequestMalformed(DomainError):
    """The request cannot be read as the operation's input; every problem found is named."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    def __init__(self, *fields: FieldProblem) -> None:
        shown = fields[:_FIELDS_MAX]
        super().__init__(
            ", ".join(f"{problem.field} {problem.message}".strip() for problem in shown),
            **({"field": shown[0].field} if shown[0].field else {}),
        )
        self.fields = shown


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was refused or failed. `code` is the canonical name, such as NOT_FOUND."""

    code: str
    reason: str
    message: str
    status: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: tuple[FieldProblem, ...] = ()

    @property
    def headers(self) -> dict[str, str]:
        """What HTTP asks for beside the body."""
        if self.status == HTTPStatus.UNAUTHORIZED:
            return {"www-authenticate": "Bearer"}
        if self.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            return {"retry-after": "1"}
        return {}


def problem_from_error(error: DomainError) -> Problem:
    """Translate what REST itself refuses."""
    status = _STATUSES_BY_ERROR.get(type(error))
    return Problem(
        code=error.code.name,
        reason=error.reason,
        message=error.message,
        status=status or http_status(error.code.name, error.reason),
        metadata=error.metadata,
        fields=error.fields if isinstance(error, RequestMalformed) else (),
    )


def problem_from_rpc(error: grpc.aio.AioRpcError) -> Problem:
    """Translate what the server answered, with reason, metadata and fields from its status details."""
    code = error.code().name
    info, violations = _details(error)
    if info is None:
        return library_problem(code, error.details() or "")
    return Problem(
        code=code,
        reason=info.reason,
        message=error.details() or "",
        status=http_status(code, info.reason),
        metadata=dict(info.metadata),
        fields=tuple(
            FieldProblem(camel_path(violation.field), violation.description, violation.reason)
            for violation in violations
        ),
    )


def library_problem(code: str, details: str = "") -> Problem:
    """What has no reason of ours: gRPC failed, or the server was silent for too long."""
    if _TOO_LARGE in details:
        # gRPC uses the code of an overload, but a retry would fail again.
        message = "the request, or its answer, is too large for one call"
        return Problem(code, reason=code, message=message, status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    message = _LIBRARY_MESSAGES.get(code) or "internal error; the request id finds it in the log"
    return Problem(code, reason=code, message=message, status=http_status(code, ""))


def internal_problem() -> Problem:
    """A defect of REST itself; the log has it under the request id."""
    return Problem(
        code="INTERNAL",
        reason="INTERNAL",
        message="internal error; the request id finds it in the log",
        status=500,
    )


def http_status(code: str, reason: str) -> int:
    """The one table: the reason decides first, then the code."""
    return _STATUSES_BY_REASON.get(reason) or _STATUSES[code]


def transcoded_body(problem: Problem, request_id: str) -> dict[str, object]:
    """The error body of every operation under /api/v1."""
    return {
        "error": {
            "code": problem.code,
            "reason": problem.reason,
            "message": problem.message,
            "metadata": dict(problem.metadata),
            "fields": [
                {"field": item.field, "message": item.message, "rule": item.rule} for item in problem.fields
            ],
            "requestId": request_id,
        }
    }


def camel_path(path: str) -> str:
    """A field path as JSON spells it: filter.page_size is filter.pageSize; keys in brackets stay."""
    return _SNAKE.sub(lambda match: match[1].upper() if match[1] else match[0], path)


def _details(
    error: grpc.aio.AioRpcError,
) -> tuple[error_details_pb2.ErrorInfo | None, list[error_details_pb2.BadRequest.FieldViolation]]:
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status.ParseFromString(value)
    info = None
    violations: list[error_details_pb2.BadRequest.FieldViolation] = []
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            violations = list(bad.field_violations)
    return info, violations
