"""The providers' requests as bytes, for what an official client would not send, or would hide."""

from __future__ import annotations

import json
from dataclasses import dataclass

_OUTPUT_TOKENS_MAX = 64


@dataclass(frozen=True, slots=True)
class Family:
    """One provider's route, its header for a key, and its smallest request."""

    provider: str
    path: str
    stream_path: str
    key_header: str
    key_prefix: str = ""

    def credential(self, provider_key: str = "a-provider-key") -> dict[str, str]:
        """Give the header that the provider wants its key in."""
        return {self.key_header: f"{self.key_prefix}{provider_key}"}

    def body(self, prompt: str = "Hi there", *, stream: bool = False) -> bytes:
        """Give the request that asks this, in the provider's own form."""
        if self.provider == "google":
            return json.dumps(
                {
                    "contents": [{"role": "user", "parts": [{"text": prompt}]}],
                    "generationConfig": {"maxOutputTokens": _OUTPUT_TOKENS_MAX},
                }
            ).encode()
        return json.dumps(
            {
                "model": "gpt-4o" if self.provider == "openai" else "claude-haiku-4-5",
                "max_tokens": _OUTPUT_TOKENS_MAX,
                "messages": [{"role": "user", "content": prompt}],
                "stream": stream,
            }
        ).encode()


OPENAI = Family("openai", "/v1/chat/completions", "/v1/chat/completions", "Authorization", "Bearer ")
ANTHROPIC = Family("anthropic", "/v1/messages", "/v1/messages", "x-api-key")
GEMINI = Family(
    "google",
    "/v1beta/models/gemini-2.0-flash:generateContent",
    "/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse",
    "x-goog-api-key",
)
FAMILIES = (OPENAI, ANTHROPIC, GEMINI)
