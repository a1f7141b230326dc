"""What every documented operation shares: authentication first, and error bodies as published."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import grpc
from starlette.responses import Response

from om_server.core.errors import DomainError
from om_server.rest.channel import Server
from om_server.rest.errors import Problem, RequestMalformed, problem_from_error, problem_from_rpc
from om_server.rest.request import MediaTypeUnsupported, Request
from om_server.rest.response import json_response

_CREDENTIAL_MISSING = "Missing API key. Provide via Authorization: Bearer or X-API-Key header"
_CREDENTIAL_INVALID = "Invalid or missing API key"
_CLIENT_CLOSED = 499


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and the body of a documented operation, and headers of its own; 204 is sent without a body."""

    status: int
    body: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Wording:
    """How an operation words what goes wrong: the sentence of its failures, and its form of a 400.

    The published API has two forms of 400; which one depends on the operation. `missing` is the sentence
    of its 404; empty is the server's own. `sentences` are those of other errors by their reason. `bare` is
    the form of one operation, whose sentence stands where the others have the status in words.
    """

    failure: str
    plain_bad_request: bool = False
    missing: str = ""
    sentences: Mapping[str, str] = field(default_factory=dict)
    bare: bool = False


class Documented:
    """A documented operation: its handler between authentication and the published errors."""

    def __init__(
        self, handler: Handler, server: Server, *, wording: Wording, anonymous: bool = False
    ) -> None:
        self._handler = handler
        self._server = server
        self._wording = wording
        self._anonymous = anonymous

    async def __call__(self, request: Request) -> Response:
        """Answer; the one place where this family's errors leave."""
        try:
            answer = await self._answer(request)
        except DomainError as error:
            problem = problem_from_error(error)
        except grpc.aio.AioRpcError as error:
            problem = problem_from_rpc(error)
        else:
            return _response(answer)
        body = published_error(problem, self._wording)
        return json_response(problem.status, body, headers=problem.headers)

    async def _answer(self, request: Request) -> Answer:
        if self._anonymous:
            return await self._handler(request)
        request.context.require_credential()
        try:
            return await self._handler(request)
        except (RequestMalformed, MediaTypeUnsupported):
            await self._server.confirm_credential(request.context)
            raise


def _response(answer: Answer) -> Response:
    if answer.status == HTTPStatus.NO_CONTENT:
        return Response(status_code=answer.status)
    return json_response(answer.status, answer.body, headers=answer.headers)


def published_error(problem: Problem, wording: Wording) -> dict[str, object]:
    """The error body that the published API has for this status."""
    title = HTTPStatus(problem.status).phrase if problem.status != _CLIENT_CLOSED else "Client Closed Request"
    plain: dict[str, object] = {"error": title, "message": problem.message}
    if problem.reason in wording.sentences:
        plain["message"] = wording.sentences[problem.reason]
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return plain | {"message": wording.failure}
    if problem.status == HTTPStatus.UNAUTHORIZED:
        missing = problem.reason == "CREDENTIAL_MISSING"
        return plain | {"message": _CREDENTIAL_MISSING if missing else _CREDENTIAL_INVALID}
    if wording.bare:
        return plain | {"error": plain["message"]}
    if problem.status == HTTPStatus.NOT_FOUND and wording.missing:
        return plain | {"message": wording.missing}
    if problem.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return body_too_large()
    if problem.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        return {"statusCode": problem.status, "code": "FST_ERR_CTP_INVALID_MEDIA_TYPE", **plain}
    if problem.status == HTTPStatus.TOO_MANY_REQUESTS:
        return {"statusCode": problem.status, **plain}
    if problem.status == HTTPStatus.BAD_REQUEST and not wording.plain_bad_request:
        return {"statusCode": problem.status, "code": "FST_ERR_VALIDATION", **plain}
    return plain


def body_too_large() -> dict[str, object]:
    """The published 413."""
    return {
        "statusCode": 413,
        "code": "FST_ERR_CTP_BODY_TOO_LARGE",
        "error": "Payload Too Large",
        "message": "Request body is too large",
    }


def route_not_found(method: str, path: str) -> dict[str, object]:
    """The published 404 of a path, or a method of a path, that does not exist."""
    return {"message": f"Route {method}:{path} not found", "error": "Not Found", "statusCode": 404}
