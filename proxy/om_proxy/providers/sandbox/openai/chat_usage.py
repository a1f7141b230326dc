"""The usage object of chat and legacy completions, as OpenAI and as compatible providers write it."""

from __future__ import annotations

from om_proxy.providers.sandbox.script import Script
from om_proxy.providers.sandbox.switch import Switches

# 10^10 ticks are a dollar: what xAI says that a call cost, whatever it was.
_XAI_TICKS = 37_500_000
_OPENROUTER_DOLLARS = 0.00125


def chat_usage(script: Script, switches: Switches, *, shim: bool = False) -> dict[str, object]:
    """Count as OpenAI does: the input includes cached and written tokens, the output includes reasoning.

    `shim`: as Gemini's compatible endpoint does, where thinking shows in the total alone.
    """
    prompt_tokens = script.fresh_tokens + switches.cached + switches.cache_write
    output_tokens, total = script.output_tokens, prompt_tokens + script.output_tokens
    if shim or switches.flavour == "xai":
        output_tokens = script.text_tokens
    usage: dict[str, object] = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": total,
    }
    if shim:
        return usage
    prompt_details = {"cached_tokens": switches.cached, "audio_tokens": 0}
    if switches.cache_write:
        # Only newer models know this key.
        prompt_details["cache_write_tokens"] = switches.cache_write
    usage["prompt_tokens_details"] = prompt_details
    usage["completion_tokens_details"] = {
        "reasoning_tokens": script.reasoning_tokens,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    }
    return usage | _extras(script, switches)


def _extras(script: Script, switches: Switches) -> dict[str, object]:
    match switches.flavour:
        case "xai":
            return {"num_sources_used": 0, "cost_in_usd_ticks": _XAI_TICKS}
        case "groq":
            return {"queue_time": 0.01, "prompt_time": 0.002, "completion_time": 0.1, "total_time": 0.102}
        case "deepseek":
            return {
                "prompt_cache_hit_tokens": switches.cached,
                "prompt_cache_miss_tokens": script.fresh_tokens + switches.cache_write,
            }
        case "openrouter":
            return {"cost": _OPENROUTER_DOLLARS, "is_byok": False, "cost_details": {}}
        case "mistral":
            return {"num_cached_tokens": switches.cached}
        case _:
            return {}
