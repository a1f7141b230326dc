import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from om_server.core.errors import Code, DomainError, InvalidArgument, NotFound
from om_server.core.usage import UnitUnknown
from om_server.rpc.status import Failure, Internal, failure_from_error
from om_server.rpc.validation import RequestInvalid, Violation

# Where gRPC peers begin to refuse metadata.
METADATA_BYTES_MAX = 8192


def read(failure: Failure) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.BadRequest]:
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    status = status_pb2.Status.FromString(failure.details)
    assert (status.code, status.message) == (failure.code.value[0], failure.message)
    for detail in status.details:
        assert detail.Unpack(info) or detail.Unpack(request)
    return info, request


def test_an_error_becomes_its_code_and_reason() -> None:
    failure = failure_from_error(NotFound("team", "team_1"))

    info, request = read(failure)
    assert failure.code is grpc.StatusCode.NOT_FOUND
    assert failure.message == "team team_1 was not found"
    assert (info.reason, info.domain) == ("NOT_FOUND", "openmonetize.io")
    assert dict(info.metadata) == {"kind": "team", "id": "team_1"}
    assert not request.field_violations


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_every_code_has_its_status(code: Code) -> None:
    error = type("Some", (DomainError,), {"code": code, "reason": "SOME"})("text")

    assert failure_from_error(error).code.value[0] == code


def test_a_wrong_argument_is_also_a_violation() -> None:
    _, request = read(failure_from_error(InvalidArgument("skip", "negative")))

    [violation] = request.field_violations
    assert (violation.field, violation.description) == ("skip", "negative")


def test_a_more_exact_reason_keeps_its_field() -> None:
    error = UnitUnknown("tokns")
    error.metadata["field"] = "lines[0].usage.quantities[0]"

    info, request = read(failure_from_error(error))

    assert info.reason == "UNKNOWN_UNIT"
    assert [violation.field for violation in request.field_violations] == ["lines[0].usage.quantities[0]"]


def test_all_violations_are_told() -> None:
    error = RequestInvalid([Violation("a", "1", "string.min_len"), Violation("b", "2")])

    _, request = read(failure_from_error(error))

    assert [(found.field, found.description, found.reason) for found in request.field_violations] == [
        ("a", "1", "string.min_len"),
        ("b", "2", ""),
    ]


@pytest.mark.parametrize("character", ["x", "é", "世", "🎩"])
def test_an_error_fits_the_wire_whatever_it_says(character: str) -> None:
    text = character * 5000
    error = RequestInvalid([Violation(text, text)] * 100)

    failure = failure_from_error(error)

    _, request = read(failure)
    percent_encoded = len(failure.message.encode()) * 3
    base64_encoded = len(failure.details) * 4 // 3
    assert percent_encoded + base64_encoded < METADATA_BYTES_MAX
    assert request.field_violations[0].field.startswith(character)


def test_short_text_is_not_cut() -> None:
    assert failure_from_error(NotFound("user", "ü" * 100)).message == f"user {'ü' * 100} was not found"


def test_a_defect_says_nothing_of_itself() -> None:
    info, _ = read(failure_from_error(Internal()))

    assert (info.reason, dict(info.metadata)) == ("INTERNAL", {})
