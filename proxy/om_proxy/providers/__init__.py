"""The AI providers that requests can be forwarded to. A new one is a folder here and a line below."""

from __future__ import annotations

from om_proxy.provider import Provider
from om_proxy.providers.anthropic import Anthropic
from om_proxy.providers.gemini import Gemini
from om_proxy.providers.openai import OpenAI


def all_providers() -> tuple[Provider, ...]:
    """Make one of each."""
    return OpenAI(), Anthropic(), Gemini()
