"""The AI providers that requests can be forwarded to. A new one is a folder here and a line below."""

from __future__ import annotations

from om_proxy.call.provider import Provider
from om_proxy.providers.anthropic import Anthropic
from om_proxy.providers.compatible import Compatible
from om_proxy.providers.compatible.spec import load_providers
from om_proxy.providers.gemini import Gemini
from om_proxy.providers.openai import OpenAI


def all_providers() -> tuple[Provider, ...]:
    """Make one of each."""
    return OpenAI(), Anthropic(), Gemini()


def compatible_providers(path: str = "") -> tuple[Compatible, ...]:
    """Make those of OpenAI's dialect: the shipped ones, and the ones in the operator's file.

    ProvidersInvalid names what is wrong with the file.
    """
    return tuple(Compatible(spec) for spec in load_providers(path))
