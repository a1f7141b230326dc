"""How those who speak OpenAI's dialect count: what is inside of a total, and what they add to a usage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Convention:
    """A way of counting. Where a provider's own total contradicts it, the total is believed and flagged."""

    name: str
    reasoning_outside: bool = False  # Of the completion's count.
    thinking_in_total: bool = False  # It shows nowhere else.
    keys: frozenset[str] = frozenset()  # Of a usage, beside OpenAI's.


OPENAI = Convention("openai")
XAI = Convention(
    "xai",
    reasoning_outside=True,
    keys=frozenset({"num_sources_used", "cost_in_usd_ticks", "server_side_tool_usage_details"}),
)
GROQ = Convention(
    "groq",
    keys=frozenset({"queue_time", "prompt_time", "completion_time", "total_time", "usage_breakdown"}),
)
DEEPSEEK = Convention("deepseek", keys=frozenset({"prompt_cache_hit_tokens", "prompt_cache_miss_tokens"}))
MISTRAL = Convention("mistral", keys=frozenset({"num_cached_tokens", "prompt_audio_seconds"}))
OPENROUTER = Convention(
    "openrouter", keys=frozenset({"cost", "cost_details", "is_byok", "server_tool_use_details"})
)
TOGETHER = Convention("together", keys=frozenset({"cached_tokens"}))
GEMINI_SHIM = Convention("gemini-shim", thinking_in_total=True)

CONVENTIONS = {
    convention.name: convention
    for convention in (OPENAI, XAI, GROQ, DEEPSEEK, MISTRAL, OPENROUTER, TOGETHER, GEMINI_SHIM)
}
