"""Which operation of OpenAI's answers at which address."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from om_proxy.providers.sandbox.body import Body, read_body
from om_proxy.providers.sandbox.exchange import Call, Incoming, Operation, Problem, Refused, Reply
from om_proxy.providers.sandbox.openai import (
    audio,
    batch,
    chat,
    completion,
    embedding,
    file,
    image,
    moderation,
    response_calls,
    video,
)
from om_proxy.providers.sandbox.openai.answer import body_reply, event_reply, object_reply
from om_proxy.providers.sandbox.script import require_model

MALFORMED = Problem(
    400,
    "We could not parse the JSON body of your request. The OpenAI API expects a JSON payload, but what was "
    "sent was not valid JSON.",
)

_MODELS = ("gpt-4o", "gpt-4o-2024-08-06", "gpt-5", "gpt-5-2025-08-07", "gpt-5.6", "gpt-5.6-sol")
_MODELS_CREATED = int(datetime(2025, 8, 7, tzinfo=UTC).timestamp())

#: Gemini's compatible endpoint, which has fewer routes and other usage.
SHIM = "/v1beta/openai/"
# Where compatible providers, and Azure, keep what OpenAI has under /v1/.
_ELSEWHERE = re.compile(
    r"/(?:openai/deployments/[^/]+|openai/v1|openai|api/v1|inference/v1|v1beta/openai)/(?P<rest>.+)"
    r"|/(?P<bare>chat/completions|responses|embeddings|models)"
)


def find(incoming: Incoming) -> Operation:
    """Find the operation of an address, or raise Refused."""
    path = plain_path(incoming.path)
    operation = _AT.get((incoming.method, path)) or _below(incoming.method, path)
    if operation is None:
        raise Refused(Problem(404, f"Invalid URL ({incoming.method} {incoming.path})"))
    if path == incoming.path:
        return operation
    found = operation
    # An operation reads ids out of the path as OpenAI has it.
    return lambda call: found(
        replace(call, incoming=replace(call.incoming, path=path), shim=_is_shim(incoming))
    )


def plain_path(path: str) -> str:
    """Give the address that OpenAI has for this one."""
    elsewhere = _ELSEWHERE.fullmatch(path)
    return path if elsewhere is None else f"/v1/{elsewhere['rest'] or elsewhere['bare']}"


def _is_shim(incoming: Incoming) -> bool:
    return incoming.path.startswith(SHIM)


def _below(method: str, path: str) -> Operation | None:
    for (wanted, pattern), operation in _UNDER.items():
        if method == wanted and pattern.fullmatch(path):
            return operation
    return None


def _with_body(operation: Callable[[Call, Body], Reply]) -> Operation:
    return lambda call: operation(call, read_body(call.incoming, MALFORMED))


def _complete_chat(call: Call, body: Body) -> Reply:
    decided = chat.decide(body, call.switches, shim=call.shim)
    if decided.streamed:
        return event_reply(call, chat.completion_frames(decided, call.stamp))
    return body_reply(call, chat.completion_body(decided, call.stamp))


def _embed(call: Call, body: Body) -> Reply:
    return embedding.embed(call, body, shim=call.shim)


def _create_batch(call: Call, body: Body) -> Reply:
    return batch.create(call, body, lambda inner: find(inner.incoming)(inner))


def _list_models(call: Call) -> Reply:
    return object_reply(call, {"object": "list", "data": [_model(name) for name in _MODELS]})


def _show_model(call: Call) -> Reply:
    name = call.incoming.path.removeprefix("/v1/models/")
    return object_reply(call, _model(require_model(name, f"The model '{name}' does not exist")))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _MODELS_CREATED, "owned_by": "system"}


_AT: dict[tuple[str, str], Operation] = {
    ("POST", "/v1/chat/completions"): _with_body(_complete_chat),
    ("POST", "/v1/completions"): _with_body(completion.complete),
    ("POST", "/v1/responses"): _with_body(response_calls.create),
    ("POST", "/v1/responses/input_tokens"): _with_body(response_calls.count),
    ("POST", "/v1/responses/compact"): _with_body(response_calls.compact),
    ("POST", "/v1/embeddings"): _with_body(_embed),
    ("POST", "/v1/images/generations"): _with_body(image.generate),
    ("POST", "/v1/images/edits"): image.edit,
    ("POST", "/v1/images/variations"): image.vary,
    ("POST", "/v1/audio/speech"): _with_body(audio.speak),
    ("POST", "/v1/audio/transcriptions"): audio.transcribe,
    ("POST", "/v1/audio/translations"): audio.translate,
    ("POST", "/v1/videos"): video.create,
    ("POST", "/v1/moderations"): _with_body(moderation.moderate),
    ("GET", "/v1/models"): _list_models,
    ("POST", "/v1/files"): file.upload,
    ("GET", "/v1/files"): file.show_all,
    ("POST", "/v1/batches"): _with_body(_create_batch),
    ("GET", "/v1/batches"): batch.show_all,
}
_UNDER: dict[tuple[str, re.Pattern[str]], Operation] = {
    ("GET", re.compile(r"/v1/responses/[^/]+")): response_calls.show,
    ("DELETE", re.compile(r"/v1/responses/[^/]+")): response_calls.delete,
    ("POST", re.compile(r"/v1/responses/[^/]+/cancel")): response_calls.cancel,
    ("GET", re.compile(r"/v1/models/.+")): _show_model,
    ("GET", re.compile(r"/v1/files/[^/]+(?:/content)?")): file.show,
    ("DELETE", re.compile(r"/v1/files/[^/]+")): file.delete,
    ("GET", re.compile(r"/v1/videos/[^/]+")): video.show,
    ("GET", re.compile(r"/v1/videos/[^/]+/content")): video.content,
    ("DELETE", re.compile(r"/v1/videos/[^/]+")): video.delete,
    ("GET", re.compile(r"/v1/batches/[^/]+")): batch.show,
    ("POST", re.compile(r"/v1/batches/[^/]+/cancel")): batch.cancel,
}
