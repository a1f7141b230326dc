"""The usage object of Anthropic's messages, and its bill by iterations."""

from __future__ import annotations

from om_proxy.providers.sandbox.script import Script
from om_proxy.providers.sandbox.switch import Switches

# What the work beside the answer consumes: on the model of the answer, and on the advisor's.
_COMPACTION = {"input_tokens": 100, "output_tokens": 83}
_ADVISOR = {"input_tokens": 200, "output_tokens": 40}
_ADVISOR_MODEL = "claude-opus-4-8"
_NO_CACHE: dict[str, object] = {
    "cache_read_input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
}


def input_usage(fresh_tokens: int, switches: Switches) -> dict[str, object]:
    """Count as Anthropic does: fresh, written and cached input exclude one another."""
    return {
        "input_tokens": fresh_tokens,
        "cache_creation_input_tokens": written(switches),
        "cache_read_input_tokens": switches.cached,
    }


def lasting_usage(switches: Switches) -> dict[str, object]:
    """Say what a stream reports only at its start."""
    return {
        "cache_creation": _split(switches),
        "service_tier": switches.tier or "standard",
        "inference_geo": "global",
    }


def output_usage(script: Script, switches: Switches) -> dict[str, object]:
    """Count the output, and say what was consumed for it beside."""
    usage: dict[str, object] = {"output_tokens": script.output_tokens}
    if script.reasoning_tokens:
        usage["output_tokens_details"] = {"thinking_tokens": script.reasoning_tokens}
    if switches.web_searches:
        usage["server_tool_use"] = {"web_search_requests": switches.web_searches, "web_fetch_requests": 0}
    if switches.iterations is not None:
        usage["iterations"] = _iterations(script, switches)
    return usage


def written(switches: Switches) -> int:
    """Count what was written to the cache."""
    return switches.cache_write_5m + switches.cache_write_1h


def _iterations(script: Script, switches: Switches) -> list[dict[str, object]]:
    """List what was billed; the top of the usage tells only of the message."""
    message = {
        "type": "message",
        **input_usage(script.fresh_tokens, switches),
        "cache_creation": _split(switches),
        "output_tokens": script.output_tokens,
    }
    match switches.iterations:
        case "compaction":
            return [{"type": "compaction", **_NO_CACHE, **_COMPACTION}, message]
        case "advisor":
            return [message, {"type": "advisor_message", "model": _ADVISOR_MODEL, **_NO_CACHE, **_ADVISOR}]
        case _:
            return [{**message, "type": "fallback_message", "model": _ADVISOR_MODEL}]


def _split(switches: Switches) -> dict[str, object]:
    return {
        "ephemeral_5m_input_tokens": switches.cache_write_5m,
        "ephemeral_1h_input_tokens": switches.cache_write_1h,
    }
