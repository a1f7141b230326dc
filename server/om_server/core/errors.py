"""The base of every error that a caller may see, and the few that no single slice owns.

Reasons are the names in om/type/v1/error_reason.proto without their prefix. A slice defines its own
errors beside the rule that raises them; this module never learns of them.
"""

from enum import IntEnum
from typing import ClassVar


class Code(IntEnum):
    """Canonical status codes; the numbers are gRPC's."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class DomainError(Exception):
    """An error with a status code, a machine-readable reason, and metadata for a program to act on.

    Everything dynamic in the message is also in the metadata. Never pass a key or a prompt to either.
    """

    code: ClassVar[Code]
    reason: ClassVar[str]

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = metadata


class Unauthenticated(DomainError):
    """The credential is unknown, malformed, revoked or expired; which of them is not told."""

    code = Code.UNAUTHENTICATED
    reason = "CREDENTIAL_INVALID"

    def __init__(self, message: str = "the credential is not valid") -> None:
        super().__init__(message)


class CredentialMissing(Unauthenticated):
    """No credential was sent."""

    reason = "CREDENTIAL_MISSING"

    def __init__(self) -> None:
        super().__init__("no credential was sent")


class PermissionDenied(DomainError):
    """The caller may not call this RPC. The answer is the same whether or not the object exists."""

    code = Code.PERMISSION_DENIED
    reason = "ACCESS_DENIED"

    def __init__(self, rpc: str) -> None:
        super().__init__(f"the caller may not call {rpc}", rpc=rpc)


class ScopeMissing(DomainError):
    """The key lacks the scope that the RPC asks for."""

    code = Code.PERMISSION_DENIED
    reason = "SCOPE_MISSING"

    def __init__(self, scope: str) -> None:
        super().__init__(f"the key lacks the scope {scope}", scope=scope)


class InvalidArgument(DomainError):
    """A field breaks its rule; the field and the description also become a BadRequest violation."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}", field=field)
        self.field = field
        self.description = description


class PageTokenInvalid(DomainError):
    """The page token is not ours, or the other arguments of the list changed."""

    code = Code.INVALID_ARGUMENT
    reason = "PAGE_TOKEN_INVALID"

    def __init__(self) -> None:
        super().__init__("the page token does not belong to this request")


class IdempotencyKeyReused(DomainError):
    """The idempotency key came before with another payload."""

    code = Code.ALREADY_EXISTS
    reason = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self, operation: str) -> None:
        super().__init__(
            f"{operation}: the idempotency key was used with another payload", operation=operation
        )


class AlreadyExists(DomainError):
    """Another object has this name or id."""

    code = Code.ALREADY_EXISTS
    reason = "ALREADY_EXISTS"

    def __init__(self, kind: str, object_id: str) -> None:
        super().__init__(f"{kind} {object_id} exists", kind=kind, id=object_id)


class NotFound(DomainError):
    """No such object in the caller's organization, which also answers for another organization's."""

    code = Code.NOT_FOUND
    reason = "NOT_FOUND"

    def __init__(self, kind: str, object_id: str) -> None:
        super().__init__(f"{kind} {object_id} was not found", kind=kind, id=object_id)


class Unimplemented(DomainError):
    """The contract has this RPC and this server does not have it yet."""

    code = Code.UNIMPLEMENTED
    reason = "NOT_IMPLEMENTED"

    def __init__(self, rpc: str) -> None:
        super().__init__(f"{rpc} is not implemented", rpc=rpc)


class Overloaded(DomainError):
    """Too many calls, or a queue is full; the caller retries later."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"

    def __init__(self, message: str = "the server is overloaded; retry later") -> None:
        super().__init__(message)


class DependencyUnavailable(DomainError):
    """A part that the server needs is away; a retry is safe."""

    code = Code.UNAVAILABLE
    reason = "DEPENDENCY_UNAVAILABLE"

    def __init__(self, message: str = "a part of the server is away; retry") -> None:
        super().__init__(message)
