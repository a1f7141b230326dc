"""What the older text routes ask for: completions, and embeddings. Token ids are text of digits."""

from __future__ import annotations

from om_proxy.call.call import Call, Demand, positive_int, text_bytes
from om_proxy.call.route import Target
from om_proxy.metering.usage import Unit
from om_proxy.providers.openai.request import call_of, named_document, streamed_call
from om_proxy.refusals.refusal import Problem

_PROMPT = (Unit.INPUT_TOKENS, Unit.CACHE_READ_TOKENS, Unit.CACHE_WRITE_TOKENS)


def read_completion(target: Target, body: bytes, *, ask: bool = True) -> Call | Problem:
    """Understand a request of the legacy route."""
    document = named_document(target, body)
    if isinstance(document, Problem):
        return document
    prompts = _items(document.get("prompt"))
    counts = (positive_int(document.get(name)) or 1 for name in ("n", "best_of"))
    demand = Demand(
        text_bytes=text_bytes(body, document, base64_bytes=0),
        prompt_units=_PROMPT,
        output_units=(Unit.OUTPUT_TOKENS,),
        messages=prompts,
        output_field="max_tokens",
        output_max=positive_int(document.get("max_tokens")),
        # All candidates are generated and charged, also those that are thrown away.
        choices=max(counts) * prompts,
    )
    return streamed_call(target, body, document, demand=demand, ask=ask)


def read_embeddings(target: Target, body: bytes) -> Call | Problem:
    """Understand what is to be embedded."""
    document = named_document(target, body)
    if isinstance(document, Problem):
        return document
    demand = Demand(
        text_bytes=text_bytes(body, document, base64_bytes=0),
        prompt_units=(Unit.INPUT_TOKENS,),
        output_units=(),
        messages=_items(document.get("input")),
    )
    return call_of(target, body, document, demand=demand)


def _items(value: object) -> int:
    """Count texts: one, a list of them, one list of token ids, or lists of those."""
    if isinstance(value, list) and value and not isinstance(value[0], int):
        return len(value)
    return 1
