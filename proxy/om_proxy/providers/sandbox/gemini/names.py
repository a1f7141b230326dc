"""Google's two spellings of a field, and models that do not exist."""

from __future__ import annotations

import re

from om_proxy.providers.sandbox.body import Body
from om_proxy.providers.sandbox.script import require_model

_UNDERSCORE = re.compile(r"_([a-z])")


def camel_case(body: Body) -> Body:
    """Accept `system_instruction` for `systemInstruction`, as Google's JSON does for every field."""
    return Body(
        {_UNDERSCORE.sub(lambda match: match[1].upper(), key): value for key, value in body.fields.items()}
    )


def existing(model: str) -> str:
    """Give the model's own name, or refuse one that does not exist."""
    message = f"models/{model} is not found for API version v1beta, or is not supported for generateContent."
    return require_model(model, message)
