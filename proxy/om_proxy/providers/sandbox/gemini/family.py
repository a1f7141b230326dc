"""The Gemini family: its addresses, keys, errors and headers."""

from __future__ import annotations

import re
from http import HTTPStatus

from om_proxy.providers.sandbox.body import Body, read_body
from om_proxy.providers.sandbox.exchange import (
    Call,
    Incoming,
    Operation,
    Problem,
    Refused,
    Reply,
)
from om_proxy.providers.sandbox.frame import gemini_frame, pretty_json
from om_proxy.providers.sandbox.gemini import cache, embedding, generation, prediction
from om_proxy.providers.sandbox.gemini.answer import EVENTS, HEADERS, JSON, body_reply, object_reply
from om_proxy.providers.sandbox.script import require_model
from om_proxy.providers.sandbox.switch import Switches

MALFORMED = Problem(400, "Invalid JSON payload received. Unexpected token.")

_MODELS = ("gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro")
_ADDRESS = re.compile(
    r"/v1(?:beta|alpha)?/(?P<kind>models|tunedModels)(?:/(?P<model>[^:]+)(?::(?P<verb>\w+))?)?"
)

# Status -> gRPC status name and message where the problem names none.
_ERRORS = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    404: ("NOT_FOUND", "Requested entity was not found."),
    409: ("ABORTED", "The operation was aborted."),
    429: (
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    500: ("INTERNAL", "An internal error has occurred. Please retry."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}
_WRONG_KEY = Problem(400, "API key not valid. Please pass a valid API key.", code="API_KEY_INVALID")
_NO_KEY = Problem(
    403,
    "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or "
    "other form of API consumer identity to call this API.",
)


def find(incoming: Incoming) -> Operation:
    """Find the operation of /{version}/models/{model}:{verb}, or of what is not below a model."""
    for (method, pattern), found in _ELSEWHERE.items():
        if incoming.method == method and pattern.fullmatch(incoming.path):
            return found
    address = _ADDRESS.fullmatch(incoming.path)
    if address is None:
        raise Refused(Problem(404))
    what = "model" if address["model"] else "models"
    operation = _OPERATIONS.get((incoming.method, address["verb"] or what))
    if operation is None:
        raise Refused(Problem(404))
    return operation


def check_key(incoming: Incoming) -> None:
    """Want `x-goog-api-key`, `?key=` or an OAuth bearer; a wrong key is a 400 here, a missing one a 403."""
    key = incoming.headers.get("x-goog-api-key") or incoming.query.get("key") or incoming.bearer
    if not key:
        raise Refused(_NO_KEY)
    if key == "invalid":
        raise Refused(_WRONG_KEY)


def refuse(problem: Problem, call: Call) -> Reply:
    """Write an error in Google's form."""
    status, message = _ERRORS.get(problem.status, ("UNKNOWN", "Unknown Error."))
    error: dict[str, object] = {
        "code": problem.status,
        "message": problem.message or message,
        "status": status,
    }
    details = _details(problem, call.switches)
    if details:
        error["details"] = details
    body = pretty_json({"error": error})
    return Reply(problem.status, (JSON, *HEADERS), frames=(body,), switches=call.switches)


def stream_error(call: Call) -> bytes:
    """Report an error in mid-stream: one more object, whose code must be an integer."""
    status, message = _ERRORS[503]
    payload = {"error": {"code": 503, "message": message, "status": status}}
    if _is_sse(call):
        return gemini_frame(payload)
    begin = b"[" if call.switches.error_after == 0 else b",\r\n"
    return begin + pretty_json(payload) + b"\n]\n"


def _generate(call: Call) -> Reply:
    decided = generation.decide(call, _model(call), _body(call))
    return body_reply(call, generation.generation_body(decided, call.stamp))


def _stream(call: Call) -> Reply:
    decided = generation.decide(call, _model(call), _body(call))
    sse = _is_sse(call)
    frames = generation.generation_frames(decided, call.stamp, sse=sse)
    headers = (EVENTS if sse else JSON, *HEADERS)
    return Reply(200, headers, frames=frames, streamed=True, switches=call.switches)


def _count_tokens(call: Call) -> Reply:
    return body_reply(call, generation.count_body(_model(call), _body(call), switches=call.switches))


def _embed(call: Call) -> Reply:
    return embedding.embed(call, _model(call), _body(call))


def _embed_batch(call: Call) -> Reply:
    return embedding.embed_batch(call, _model(call), _body(call))


def _predict(call: Call) -> Reply:
    return prediction.predict(call, _model(call), _body(call))


def _begin(call: Call) -> Reply:
    return prediction.begin(call, _model(call), _body(call))


def _create_cache(call: Call) -> Reply:
    return cache.create(call, _body(call))


def _list_models(call: Call) -> Reply:
    return object_reply(call, {"models": [_description(name) for name in _MODELS]})


def _show_model(call: Call) -> Reply:
    name = require_model(_model(call), "Model is not found.")
    return object_reply(call, _description(name))


def _description(name: str) -> dict[str, object]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name.replace("-", " ").title(),
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }


def _model(call: Call) -> str:
    # Behind version and collection; `find` has matched the address.
    return call.incoming.path.split("/", 3)[3].partition(":")[0]


def _body(call: Call) -> Body:
    return read_body(call.incoming, MALFORMED)


def _is_sse(call: Call) -> bool:
    return call.incoming.query.get("alt") == "sse"


def _details(problem: Problem, switches: Switches) -> list[dict[str, object]]:
    reason = switches.error_code or (problem.code if problem.code == _WRONG_KEY.code else None)
    details: list[dict[str, object]] = []
    if reason:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason,
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }
        )
    # Instead of a retry-after header, which Gemini does not send.
    seconds = switches.retry_seconds(problem.status)
    if seconds is not None and problem.status == HTTPStatus.TOO_MANY_REQUESTS:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}],
            }
        )
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"})
    return details


_OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "generateContent"): _generate,
    ("POST", "streamGenerateContent"): _stream,
    ("POST", "countTokens"): _count_tokens,
    ("POST", "embedContent"): _embed,
    ("POST", "batchEmbedContents"): _embed_batch,
    ("POST", "predict"): _predict,
    ("POST", "predictLongRunning"): _begin,
    ("GET", "models"): _list_models,
    ("GET", "model"): _show_model,
}
_VERSION = r"/v1(?:beta|alpha)?"
_CACHE = re.compile(rf"{_VERSION}/cachedContents/[^/:]+")
_ELSEWHERE: dict[tuple[str, re.Pattern[str]], Operation] = {
    ("GET", re.compile(rf"{_VERSION}/models/[^/:]+/operations/[^/:]+")): prediction.poll,
    ("POST", re.compile(rf"{_VERSION}/cachedContents")): _create_cache,
    ("GET", re.compile(rf"{_VERSION}/cachedContents")): cache.show_all,
    ("GET", _CACHE): cache.show,
    ("PATCH", _CACHE): cache.show,
    ("DELETE", _CACHE): cache.delete,
}
