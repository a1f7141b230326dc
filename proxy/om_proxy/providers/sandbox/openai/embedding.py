"""OpenAI's POST /v1/embeddings."""

from __future__ import annotations

from om_proxy.providers.sandbox.body import Body
from om_proxy.providers.sandbox.exchange import Call, Problem, Refused, Reply
from om_proxy.providers.sandbox.openai.answer import object_reply
from om_proxy.providers.sandbox.openai.refusals import in_range, missing, required_model
from om_proxy.providers.sandbox.script import count_input, count_tokens
from om_proxy.providers.sandbox.vector import packed, vector

_INPUTS_MAX = 2_048
_DIMENSIONS = {"text-embedding-3-large": 3_072}
_DIMENSIONS_DEFAULT = 1_536
_DIMENSIONS_MAX = 3_072
_NUMBERS_MAX = 4_000_000


def embed(call: Call, body: Body, *, shim: bool = False) -> Reply:
    """Answer texts or lists of token ids; Gemini's compatible endpoint (`shim`) reports no usage."""
    model = required_model(body)
    sizes = [_tokens(item) for item in _inputs(body.value("input"))]
    dimensions = body.integer("dimensions") or _DIMENSIONS.get(model, _DIMENSIONS_DEFAULT)
    in_range(dimensions, "dimensions", _DIMENSIONS_MAX)
    if len(sizes) * dimensions > _NUMBERS_MAX:
        raise Refused(Problem(400, "Invalid 'input': too many embeddings for one request.", param="input"))
    write = packed if body.text("encoding_format") == "base64" else vector
    data = [
        {"object": "embedding", "index": index, "embedding": write(size, dimensions)}
        for index, size in enumerate(sizes)
    ]
    answer: dict[str, object] = {"object": "list", "data": data, "model": call.switches.served_model or model}
    if call.switches.usage != "missing" and not shim:
        # Counted text by text, as a tokenizer does.
        tokens = sum(sizes) if call.switches.input_tokens is None else count_input(0, call.switches)
        answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return object_reply(call, answer)


def _inputs(value: object) -> list[object]:
    if value is None:
        raise missing("input")
    if isinstance(value, list) and value and not isinstance(value[0], int):
        in_range(len(value), "input", _INPUTS_MAX)
        return value
    return [value]


def _tokens(item: object) -> int:
    if isinstance(item, str) and item:
        return count_tokens(len(item))
    if isinstance(item, list) and item:
        return len(item)
    raise Refused(Problem(400, "'$.input' is invalid.", param="input"))
