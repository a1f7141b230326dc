"""The directives that a request brings, and how far they go where anybody may write them.

Anybody may with keys for tests and `X-Sandbox`; a simulator of one's own has no such limits. What is not
bounded here is bounded by its meaning: counts of tokens are only numbers, and an answer is cut off when its
time is over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import orjson

from om_proxy.providers.sandbox.exchange import Incoming, Problem, Refused
from om_proxy.providers.sandbox.switch import HEADER, MODEL_MARK, InvalidSwitch, Switches, parse_switches

#: Seconds after which a public simulator breaks an answer off.
ANSWER_SECONDS_MAX = 60.0

PUBLIC_MAXIMA: Mapping[str, int] = MappingProxyType(
    {
        "output_tokens": 20_000,
        "delay_ms": 30_000,
        "ttft_ms": 30_000,
        "interval_ms": 1_000,
        "comments": 16,
        "pings": 16,
        "padding": 64,
        "web_searches": 16,
    }
)

_PATH_MODEL = re.compile(r"[^/:]*" + re.escape(MODEL_MARK) + r"[^/:]*")
_FORM_MODEL = re.compile(
    rb'name="?model"?\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*' + re.escape(MODEL_MARK).encode() + rb"[^\r\n]*)"
)


def read_switches(incoming: Incoming, *, public: bool) -> Switches:
    """Read the directives in the header and behind the model's name; raises Refused."""
    return allowed(incoming.headers.get(HEADER, ""), _marked_model(incoming), public=public)


def allowed(header: str, model: str = "", *, public: bool) -> Switches:
    """Parse directives; raises Refused for an unknown one, and for one that goes too far in public."""
    try:
        switches = parse_switches(header, model)
    except InvalidSwitch as invalid:
        raise Refused(Problem(400, str(invalid), param=HEADER)) from None
    for name, maximum in PUBLIC_MAXIMA.items() if public else ():
        chosen = getattr(switches, name)
        if chosen is not None and chosen > maximum:
            raise Refused(Problem(400, f"X-Sim: '{name}' is at most {maximum} in the sandbox", param=HEADER))
    return switches


def _marked_model(incoming: Incoming) -> str:
    """Find the model with directives behind its name, wherever this request names its model."""
    in_path = _PATH_MODEL.search(incoming.path)
    if in_path is not None:
        return in_path[0]
    if MODEL_MARK.encode() not in incoming.body:
        return ""
    in_form = _FORM_MODEL.search(incoming.body)
    if in_form is not None:
        return in_form[1].decode("utf-8", "replace")
    try:
        document = orjson.loads(incoming.body)
    except orjson.JSONDecodeError:
        return ""
    model = document.get("model") if isinstance(document, dict) else None
    return model if isinstance(model, str) else ""
