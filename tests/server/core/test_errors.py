import grpc
import pytest

from om_server.core.errors import (
    AlreadyExists,
    Code,
    CredentialMissing,
    DependencyUnavailable,
    DomainError,
    IdempotencyKeyReused,
    InvalidArgument,
    NotFound,
    Overloaded,
    PageTokenInvalid,
    PermissionDenied,
    ScopeMissing,
    Unauthenticated,
    Unimplemented,
)


def test_codes_are_those_of_grpc() -> None:
    assert {code.name: code.value for code in Code} == {
        status.name: status.value[0] for status in grpc.StatusCode
    }


@pytest.mark.parametrize(
    ("error", "code", "reason", "metadata"),
    [
        (Unauthenticated(), Code.UNAUTHENTICATED, "CREDENTIAL_INVALID", {}),
        (CredentialMissing(), Code.UNAUTHENTICATED, "CREDENTIAL_MISSING", {}),
        (PermissionDenied("Get"), Code.PERMISSION_DENIED, "ACCESS_DENIED", {"rpc": "Get"}),
        (ScopeMissing("admin"), Code.PERMISSION_DENIED, "SCOPE_MISSING", {"scope": "admin"}),
        (InvalidArgument("size", "negative"), Code.INVALID_ARGUMENT, "INVALID_ARGUMENT", {"field": "size"}),
        (PageTokenInvalid(), Code.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", {}),
        (
            IdempotencyKeyReused("GrantCredits"),
            Code.ALREADY_EXISTS,
            "IDEMPOTENCY_KEY_REUSED",
            {"operation": "GrantCredits"},
        ),
        (
            AlreadyExists("team", "tea_1"),
            Code.ALREADY_EXISTS,
            "ALREADY_EXISTS",
            {"kind": "team", "id": "tea_1"},
        ),
        (NotFound("wallet", "wal_1"), Code.NOT_FOUND, "NOT_FOUND", {"kind": "wallet", "id": "wal_1"}),
        (Unimplemented("RerateEvents"), Code.UNIMPLEMENTED, "NOT_IMPLEMENTED", {"rpc": "RerateEvents"}),
        (Overloaded(), Code.RESOURCE_EXHAUSTED, "OVERLOADED", {}),
        (DependencyUnavailable(), Code.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE", {}),
    ],
)
def test_an_error_states_code_reason_and_what_is_dynamic(
    error: DomainError, code: Code, reason: str, metadata: dict[str, str]
) -> None:
    assert (error.code, error.reason, error.metadata) == (code, reason, metadata)
    assert all(value in error.message for value in metadata.values())


def test_a_violated_field_keeps_its_description_for_the_bad_request() -> None:
    error = InvalidArgument("page_size", "negative")

    assert (error.field, error.description) == ("page_size", "negative")
