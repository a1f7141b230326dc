"""The OpenAI family: what `respond` wants of it, and its keys."""

from __future__ import annotations

from om_proxy.providers.sandbox.exchange import Incoming, Problem, Refused
from om_proxy.providers.sandbox.openai.problem import refuse, stream_error
from om_proxy.providers.sandbox.openai.routes import MALFORMED, find

__all__ = ["MALFORMED", "check_key", "find", "refuse", "stream_error"]


def check_key(incoming: Incoming) -> None:
    """Want `Authorization: Bearer`, or `api-key` as Azure does."""
    key = incoming.bearer or incoming.headers.get("api-key")
    if not key:
        message = (
            "You didn't provide an API key. You need to provide your API key in an Authorization header "
            "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )
        raise Refused(Problem(401, message))
    if key == "invalid":
        raise Refused(Problem(401))
