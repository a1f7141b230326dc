"""Errors as gRPC tells them: a status code, and a google.rpc.Status with the machine-readable reason."""

from dataclasses import dataclass

import grpc
from google.protobuf.any_pb2 import Any as ProtoAny
from google.rpc import error_details_pb2, status_pb2

from om_server.core.errors import Code, DomainError, InvalidArgument
from om_server.rpc.validation import RequestInvalid, Violation

#: Whose reasons they are.
DOMAIN = "openmonetize.io"

DETAILS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

# Peers refuse a call whose metadata is above 8 KiB, and then nobody learns what was wrong. On the wire
# details grow by a third (base64), and a byte of the message to three where it is not ASCII.
_MESSAGE_BYTES_MAX = 400
_VALUE_BYTES_MAX = 300
_VIOLATIONS_BYTES_MAX = 2000


class Internal(DomainError):
    """A defect. The caller learns the request id, which finds the cause in the log, and nothing of it."""

    code = Code.INTERNAL
    reason = "INTERNAL"

    def __init__(self) -> None:
        super().__init__("internal error; the request id finds it in the log")


@dataclass(frozen=True, slots=True)
class Failure:
    """An error ready for the wire."""

    code: grpc.StatusCode
    message: str
    details: bytes


def failure_from_error(error: DomainError) -> Failure:
    """Translate an error; too much text is cut, because the wire has little room."""
    message = _cut(error.message, _MESSAGE_BYTES_MAX)
    info = error_details_pb2.ErrorInfo(
        reason=error.reason,
        domain=DOMAIN,
        metadata={name: _cut(value, _VALUE_BYTES_MAX) for name, value in error.metadata.items()},
    )
    details = [_packed(info)]
    if violations := _violations(error):
        details.append(_packed(_bad_request(violations)))
    status = status_pb2.Status(code=int(error.code), message=message, details=details)
    return Failure(_CODES[int(error.code)], message, status.SerializeToString())


def _violations(error: DomainError) -> tuple[Violation, ...]:
    if isinstance(error, RequestInvalid):
        return error.violations
    if isinstance(error, InvalidArgument):
        return (Violation(error.field, error.description),)
    if error.code is Code.INVALID_ARGUMENT and "field" in error.metadata:
        return (Violation(error.metadata["field"], error.message),)
    return ()


def _bad_request(violations: tuple[Violation, ...]) -> error_details_pb2.BadRequest:
    """Name as many violations as there is room for, and the first in any case."""
    shown = error_details_pb2.BadRequest()
    for violation in violations:
        shown.field_violations.add(
            field=_cut(violation.field, _VALUE_BYTES_MAX),
            description=_cut(violation.description, _VALUE_BYTES_MAX),
            reason=violation.rule,
        )
        if shown.ByteSize() > _VIOLATIONS_BYTES_MAX:
            break
    return shown


def _packed(detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> ProtoAny:
    packed = ProtoAny()
    packed.Pack(detail)
    return packed


def _cut(text: str, size: int) -> str:
    encoded = text.encode()
    return text if len(encoded) <= size else f"{encoded[: size - 3].decode(errors='ignore')}..."
