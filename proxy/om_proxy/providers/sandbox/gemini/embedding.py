"""Gemini's embeddings: one at a time, and in batches."""

from __future__ import annotations

from om_proxy.providers.sandbox.body import Body, count_characters
from om_proxy.providers.sandbox.exchange import Call, Problem, Refused, Reply
from om_proxy.providers.sandbox.gemini.answer import object_reply
from om_proxy.providers.sandbox.gemini.names import camel_case, existing
from om_proxy.providers.sandbox.script import count_tokens
from om_proxy.providers.sandbox.vector import vector

_REQUESTS_MAX = 100
_DIMENSIONS_DEFAULT = 3_072
# Only from this generation on embeddings report what they counted.
_REPORTING = "gemini-embedding-2"


def embed(call: Call, model: str, body: Body) -> Reply:
    """Answer :embedContent."""
    model = existing(model)
    tokens, numbers = _embedded(body)
    return object_reply(call, {"embedding": {"values": numbers}, **_usage(call, model, tokens)})


def embed_batch(call: Call, model: str, body: Body) -> Reply:
    """Answer :batchEmbedContents, which the SDKs call for one text as well."""
    model = existing(model)
    requests = body.items("requests")
    if not requests or len(requests) > _REQUESTS_MAX:
        raise Refused(Problem(400, f"* BatchEmbedContentsRequest.requests: at most {_REQUESTS_MAX} requests"))
    answers = [_embedded(Body(request)) for request in requests if isinstance(request, dict)]
    usage = _usage(call, model, sum(tokens for tokens, _ in answers))
    return object_reply(call, {"embeddings": [{"values": numbers} for _, numbers in answers], **usage})


def _embedded(request: Body) -> tuple[int, tuple[float, ...]]:
    body = camel_case(request)
    if body.value("content") is None:
        raise Refused(Problem(400, "* EmbedContentRequest.content: contents is not specified\n"))
    tokens = max(1, count_tokens(count_characters(body.value("content"))))
    dimensions = body.integer("outputDimensionality")
    if dimensions is None:
        dimensions = camel_case(body.section("embedContentConfig")).integer("outputDimensionality")
    return tokens, vector(tokens, min(dimensions or _DIMENSIONS_DEFAULT, _DIMENSIONS_DEFAULT))


def _usage(call: Call, model: str, tokens: int) -> dict[str, object]:
    if not model.startswith(_REPORTING) or call.switches.usage == "missing":
        return {}
    if call.switches.input_tokens is not None:
        tokens = call.switches.input_tokens
    # The singular is Google's.
    details = [{"modality": "TEXT", "tokenCount": tokens}]
    return {"usageMetadata": {"promptTokenCount": tokens, "promptTokenDetails": details}}
