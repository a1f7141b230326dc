import grpc
import pytest
from google.protobuf.any_pb2 import Any as ProtoAny
from google.rpc import error_details_pb2, status_pb2

from om_server.core.errors import CredentialMissing, InvalidArgument, NotFound
from om_server.rest.errors import (
    FieldProblem,
    RequestMalformed,
    camel_path,
    http_status,
    problem_from_error,
    problem_from_rpc,
    transcoded_body,
)
from om_server.rest.request import BodyTooLarge


def rpc_error(
    code: grpc.StatusCode, message: str, *details: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest
) -> grpc.aio.AioRpcError:
    packed = []
    for detail in details:
        item = ProtoAny()
        item.Pack(detail)
        packed.append(item)
    raw = status_pb2.Status(code=code.value[0], message=message, details=packed).SerializeToString()
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", raw)) if packed else grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, message)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_has_a_status(code: grpc.StatusCode) -> None:
    assert 400 <= http_status(code.name, "") < 600


@pytest.mark.parametrize(
    ("code", "reason", "status"),
    [
        ("UNAUTHENTICATED", "CREDENTIAL_INVALID", 401),
        ("PERMISSION_DENIED", "SCOPE_MISSING", 403),
        ("NOT_FOUND", "NOT_FOUND", 404),
        ("ALREADY_EXISTS", "EVENT_CONFLICT", 409),
        ("INVALID_ARGUMENT", "UNKNOWN_UNIT", 400),
        ("FAILED_PRECONDITION", "WALLET_BLOCKED", 400),
        ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS", 402),
        ("FAILED_PRECONDITION", "LIMIT_REACHED", 402),
        ("RESOURCE_EXHAUSTED", "OVERLOADED", 429),
        ("UNIMPLEMENTED", "NOT_IMPLEMENTED", 501),
        ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE", 503),
        ("DEADLINE_EXCEEDED", "", 504),
        ("INTERNAL", "INTERNAL", 500),
    ],
)
def test_the_table(code: str, reason: str, status: int) -> None:
    assert http_status(code, reason) == status


def test_details_of_the_server_become_reason_metadata_and_fields() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field="filter.page_size", description="negative", reason="int32.gte"
    )
    error = rpc_error(
        grpc.StatusCode.INVALID_ARGUMENT,
        "filter.page_size: negative",
        error_details_pb2.ErrorInfo(reason="INVALID_ARGUMENT", metadata={"field": "filter.page_size"}),
        error_details_pb2.BadRequest(field_violations=[violation]),
    )

    body = transcoded_body(problem_from_rpc(error), "req_1")

    assert body == {
        "error": {
            "code": "INVALID_ARGUMENT",
            "reason": "INVALID_ARGUMENT",
            "message": "filter.page_size: negative",
            "metadata": {"field": "filter.page_size"},
            "fields": [{"field": "filter.pageSize", "message": "negative", "rule": "int32.gte"}],
            "requestId": "req_1",
        }
    }


def test_text_of_the_library_is_not_shown() -> None:
    error = rpc_error(grpc.StatusCode.UNAVAILABLE, "failed to connect to ipv4:10.0.0.7:50051")

    problem = problem_from_rpc(error)

    assert (problem.code, problem.reason, problem.status) == ("UNAVAILABLE", "UNAVAILABLE", 503)
    assert "10.0.0.7" not in problem.message
    assert problem.headers == {"retry-after": "1"}


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("CLIENT: Sent message larger than max (5000000 vs. 4194304)", 413),
        ("SERVER: Received message larger than max (5000000 vs. 4194304)", 413),
        ("Concurrent RPC limit exceeded!", 429),
    ],
)
def test_a_message_that_is_too_large_is_not_retried(text: str, status: int) -> None:
    assert problem_from_rpc(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, text)).status == status


def test_a_defect_without_details_tells_nothing() -> None:
    error = rpc_error(grpc.StatusCode.UNKNOWN, "Unexpected <class 'KeyError'>: 'om_live_secret'")

    assert "om_live_secret" not in problem_from_rpc(error).message


def test_errors_of_rest_itself_have_the_same_shape() -> None:
    malformed = RequestMalformed(FieldProblem("a.b", "must be text", "type"), FieldProblem("c", "is unknown"))

    problem = problem_from_error(malformed)

    assert (problem.status, problem.reason) == (400, "INVALID_ARGUMENT")
    assert problem.message == "a.b must be text, c is unknown"
    assert problem.metadata == {"field": "a.b"}
    assert [field.field for field in problem.fields] == ["a.b", "c"]


def test_a_flood_of_mistakes_is_cut() -> None:
    malformed = RequestMalformed(*(FieldProblem(f"f{i}", "is unknown") for i in range(1000)))

    assert len(problem_from_error(malformed).fields) == 20


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CredentialMissing(), 401),
        (NotFound("wallet", "w"), 404),
        (InvalidArgument("a", "b"), 400),
        (BodyTooLarge(), 413),
    ],
)
def test_status_of_domain_errors(error: CredentialMissing, status: int) -> None:
    assert problem_from_error(error).status == status


@pytest.mark.parametrize(
    ("path", "camel"),
    [
        ("page_size", "pageSize"),
        ("filter.start_time", "filter.startTime"),
        ("events[0].lines[1].attributes[image_size]", "events[0].lines[1].attributes[image_size]"),
        ("plain", "plain"),
    ],
)
def test_a_path_is_spelled_as_json(path: str, camel: str) -> None:
    assert camel_path(path) == camel
