"""Embeddings: only a prompt goes in, and only newer models say how long it was."""

from __future__ import annotations

from collections.abc import Mapping

from om_proxy.call.call import Call, Demand, text_bytes
from om_proxy.call.route import Target
from om_proxy.metering.reading import Fields, Flag, Line, Metered, parse_object, raw_usage_of
from om_proxy.metering.usage import Certainty, Unit, usage_of
from om_proxy.providers.gemini.request import ContentNotes, first, model_of
from om_proxy.providers.gemini.usage import input_counts
from om_proxy.refusals.problem import invalid_json
from om_proxy.refusals.refusal import Problem

_USAGE_KEYS = frozenset({"promptTokenCount", "promptTokenDetails", "promptTokensDetails", "totalTokenCount"})
# Of the shim.
_SHIM_KEYS = frozenset({"prompt_tokens", "total_tokens"})


def read_embedding(target: Target, body: bytes) -> Call | Problem:
    """Understand a request for one embedding or several; the path names the model."""
    document = parse_object(body)
    if document is None or target.model is None:
        return invalid_json()
    notes = ContentNotes()
    requests = document.get("requests")
    for index, request in enumerate(requests if isinstance(requests, list) else [document]):
        content = first(request, "content") if isinstance(request, dict) else None
        if isinstance(content, dict):
            notes.content(content, f"requests[{index}].content")
    return embedding_call(target, body, document=document, notes=notes, model=model_of(target))


def embedding_call(
    target: Target, body: bytes, *, document: Mapping[str, object], notes: ContentNotes, model: str
) -> Call:
    """Bound a request by its text and its media; nothing comes out."""
    requests = document.get("requests")
    demand = Demand(
        text_bytes=text_bytes(body, document, base64_bytes=notes.base64_bytes),
        prompt_units=notes.prompt_units(),
        output_units=(),
        messages=len(requests) if isinstance(requests, list) else 1,
        images=notes.images,
        image_field=notes.image_field,
        window_field=notes.window_field,
    )
    return Call(
        provider=target.route.provider,
        operation=target.route.operation,
        model=model,
        stream=False,
        tier="",
        body=body,
        demand=demand,
        usage=target.route.usage,
    )


class EmbeddingReader:
    """Reads the usage of embeddings, by either name; older models leave it out."""

    visible_bytes = 0

    def __init__(self, call: Call) -> None:
        self._call = call
        self._usage: Mapping[str, object] | None = None
        self._error = False
        self._malformed = False

    def read(self, document: bytes) -> None:
        """Parse the body."""
        answer = parse_object(document)
        if answer is None:
            self._malformed = True
            return
        self._error = isinstance(answer.get("error"), dict)
        usage = answer.get("usageMetadata", answer.get("usage"))
        self._usage = usage if isinstance(usage, dict) else None

    def metered(self) -> Metered:
        """Say what was read."""
        flags = {Flag.DOCUMENT_MALFORMED} if self._malformed else set[Flag]()
        if self._error:
            return Metered((), flags=frozenset({Flag.ERROR_IN_ANSWER}))
        fields = Fields(self._usage, flags)
        fields.check_keys(_USAGE_KEYS | _SHIM_KEYS)
        names = ("promptTokenCount", "prompt_tokens", "totalTokenCount", "total_tokens")
        prompt = next((count for name in names if (count := fields.count(name)) is not None), None)
        certainty = Certainty.ESTIMATED if Flag.USAGE_MALFORMED in flags else Certainty.MEASURED
        line = Line(
            provider=self._call.provider,
            model=self._call.model,
            requested_model=self._call.model,
            tier="standard",
            usage=usage_of(
                {Unit.INPUT_TOKENS: None} if prompt is None else input_counts(fields, prompt), certainty
            ),
        )
        raw = raw_usage_of(self._usage) if self._usage is not None else None
        return Metered((line,), raw, flags=frozenset(flags))
