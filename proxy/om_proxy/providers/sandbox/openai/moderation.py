"""OpenAI's POST /v1/moderations: nothing is ever flagged."""

from __future__ import annotations

from om_proxy.providers.sandbox.body import Body
from om_proxy.providers.sandbox.exchange import Call, Reply
from om_proxy.providers.sandbox.openai.answer import object_reply
from om_proxy.providers.sandbox.openai.refusals import in_range, known_model, missing

_INPUTS_MAX = 2_048
_CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
_RESULT = {
    "flagged": False,
    "categories": dict.fromkeys(_CATEGORIES, False),
    "category_scores": dict.fromkeys(_CATEGORIES, 0.0001),
    "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
}


def moderate(call: Call, body: Body) -> Reply:
    """Answer with a result for each text; parts of one message have one together."""
    given = body.value("input")
    if given is None:
        raise missing("input")
    texts = isinstance(given, list) and given and isinstance(given[0], str)
    count = in_range(len(given), "input", _INPUTS_MAX) if isinstance(given, list) and texts else 1
    model = known_model(body.text("model") or "omni-moderation-latest")
    return object_reply(
        call, {"id": f"modr-{call.stamp.token}", "model": model, "results": [_RESULT] * count}
    )
