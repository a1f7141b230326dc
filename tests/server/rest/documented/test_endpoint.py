import pytest

from om_server.rest.documented.endpoint import Wording, published_error
from om_server.rest.errors import Problem

WORDING = Wording("Failed to fetch credit balance")


def problem(status: int, reason: str = "REASON", message: str = "what is wrong") -> Problem:
    return Problem("CODE", reason=reason, message=message, status=status)


@pytest.mark.parametrize(
    ("given", "body"),
    [
        (
            problem(401, "CREDENTIAL_MISSING"),
            {
                "error": "Unauthorized",
                "message": "Missing API key. Provide via Authorization: Bearer or X-API-Key header",
            },
        ),
        (
            problem(401, "CREDENTIAL_INVALID"),
            {"error": "Unauthorized", "message": "Invalid or missing API key"},
        ),
        (problem(403), {"error": "Forbidden", "message": "what is wrong"}),
        (problem(404), {"error": "Not Found", "message": "what is wrong"}),
        (problem(409), {"error": "Conflict", "message": "what is wrong"}),
        (problem(402), {"error": "Payment Required", "message": "what is wrong"}),
        (problem(429), {"statusCode": 429, "error": "Too Many Requests", "message": "what is wrong"}),
        (problem(499), {"error": "Client Closed Request", "message": "what is wrong"}),
        (
            problem(413),
            {
                "statusCode": 413,
                "code": "FST_ERR_CTP_BODY_TOO_LARGE",
                "error": "Payload Too Large",
                "message": "Request body is too large",
            },
        ),
        (problem(500), {"error": "Internal Server Error", "message": "Failed to fetch credit balance"}),
        (problem(501), {"error": "Not Implemented", "message": "Failed to fetch credit balance"}),
        (problem(503), {"error": "Service Unavailable", "message": "Failed to fetch credit balance"}),
        (problem(504), {"error": "Gateway Timeout", "message": "Failed to fetch credit balance"}),
    ],
)
def test_each_status_has_its_published_body(given: Problem, body: dict[str, object]) -> None:
    assert published_error(given, WORDING) == body


def test_a_bad_request_has_two_published_forms() -> None:
    assert published_error(problem(400), WORDING) == {
        "statusCode": 400,
        "code": "FST_ERR_VALIDATION",
        "error": "Bad Request",
        "message": "what is wrong",
    }
    assert published_error(problem(400), Wording("Failed to ingest events", plain_bad_request=True)) == {
        "error": "Bad Request",
        "message": "what is wrong",
    }
