"""One HTTP request as an operation sees it: credential, request id, query, path, and a bounded body."""

import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from starlette.datastructures import Headers
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response
from starlette.types import Receive, Scope

from om_server.core.errors import Code, CredentialMissing, DomainError, Unauthenticated
from om_server.rpc.status import REQUEST_ID_KEY
from om_server.rpc.tracing import TRACE_PARENT

BODY_BYTES_MAX = 10 * 1024 * 1024
#: Bodies above this are read on a thread, so that other requests go on meanwhile.
LARGE_BODY_BYTES = 256 * 1024

#: Where the request id lives in the ASGI scope, so that an answer made by any layer can carry it.
REQUEST_ID_SCOPE = "openmonetize.request_id"
#: And there is how the request's span is named as a caller's.
TRACE_SCOPE = "openmonetize.trace_parent"

#: Stands for an encoded slash while the path is routed: the router splits at real slashes, and ids are
#: free-form. A private-use character, so no id has it.
SLASH_IN_SEGMENT = "\ue000"

_JSON_TYPE = re.compile(r"application/([a-z0-9.-]+\+)?json")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class BodyTooLarge(DomainError):
    """The body is above the limit; it is refused before the rest of it is read."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    def __init__(self) -> None:
        super().__init__(f"the body is larger than {BODY_BYTES_MAX} bytes")


class MediaTypeUnsupported(DomainError):
    """The body says that it is something else than JSON; a body that says nothing is taken for JSON."""

    code = Code.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    def __init__(self, media_type: str) -> None:
        super().__init__(f"the body must be application/json, not {media_type}")
        self.media_type = media_type


@dataclass(frozen=True, slots=True)
class CallContext:
    """What every RPC made for one request carries. The credential is empty if none was sent."""

    credential: str
    request_id: str
    #: Empty where nobody traces the request.
    trace_parent: str = ""

    @classmethod
    def of(cls, scope: Scope, credential: str) -> Self:
        """The context of a request with a credential."""
        return cls(credential, scope[REQUEST_ID_SCOPE], scope.get(TRACE_SCOPE, ""))

    def acting_as(self, credential: str) -> Self:
        """The same request with another credential; with none, nobody's."""
        return replace(self, credential=credential)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The gRPC metadata: the caller's own credential, the request id, and whose part the call is."""
        found = (
            ("authorization", f"Bearer {self.credential}" if self.credential else ""),
            (REQUEST_ID_KEY, self.request_id),
            (TRACE_PARENT, self.trace_parent),
        )
        return tuple((name, value) for name, value in found if value)

    def require_credential(self) -> None:
        """CREDENTIAL_MISSING without one; one that no header can carry on cannot be valid."""
        if not self.credential:
            raise CredentialMissing
        # gRPC refuses other characters in metadata with an error that is no answer to the caller.
        if not self.credential.isascii() or not self.credential.isprintable():
            raise Unauthenticated


class Request:
    """One HTTP request. The body can be read once."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._request = StarletteRequest(scope, receive)
        self.context = CallContext.of(scope, credential_of(self._request.headers))

    @property
    def headers(self) -> Headers:
        """The headers; a session cookie has become the credential by now."""
        return self._request.headers

    @property
    def query(self) -> list[tuple[str, str]]:
        """Every parameter in the order sent; a name may come more than once."""
        return self._request.query_params.multi_items()

    @property
    def path_parameters(self) -> Mapping[str, str]:
        """Values of the path's parameters, decoded."""
        found = self._request.path_params
        return {name: str(value).replace(SLASH_IN_SEGMENT, "/") for name, value in found.items()}

    @property
    def idempotency_key(self) -> str:
        """The header Idempotency-Key; empty if none was sent."""
        return self._request.headers.get("idempotency-key", "").strip()

    async def body(self) -> bytes:
        """Read the body; BodyTooLarge as soon as that is known, MediaTypeUnsupported if it is not JSON."""
        declared = self._request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > BODY_BYTES_MAX:
            raise BodyTooLarge
        parts: list[bytes] = []
        size = 0
        async for part in self._request.stream():
            size += len(part)
            if size > BODY_BYTES_MAX:
                raise BodyTooLarge
            parts.append(part)
        # Clients name JSON on requests without a body, and forms of other sites cannot name it at all.
        if size and (named := _media_type(self._request.headers)) and not _JSON_TYPE.fullmatch(named):
            raise MediaTypeUnsupported(named)
        return b"".join(parts)


Endpoint = Callable[[Request], Awaitable[Response]]


def request_id(headers: Headers) -> str:
    """The caller's request id if it can go into logs and headers, else a fresh one."""
    given = headers.get(REQUEST_ID_KEY, "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def credential_of(headers: Headers) -> str:
    """A bearer token, else X-API-Key. Another scheme of Authorization is not ours and is passed over."""
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key", "").strip()


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()
