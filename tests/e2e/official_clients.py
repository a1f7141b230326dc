"""The providers' own clients, asked one question each, and what the simulator lets them consume for it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Protocol

import anthropic
import openai
from google import genai
from google.genai import types

OUTPUT_TOKENS_MAX = 64


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, of which model, and how."""

    model: str
    prompt: str = "What does a smart meter do?"
    stream: bool = False
    provider_key: str = "a-provider-key"


class Ask(Protocol):
    """Sends a question to a proxy with these headers and gives the answer's text."""

    def __call__(self, proxy: str, headers: dict[str, str], question: Question) -> str: ...


@dataclass(frozen=True, slots=True)
class OfficialClient:
    """A client, and which model it asks for by default."""

    provider: str
    model: str
    served_model: str
    ask: Ask


def _ask_openai(proxy: str, headers: dict[str, str], question: Question) -> str:
    client = openai.OpenAI(
        api_key=question.provider_key, base_url=f"{proxy}/v1", default_headers=headers, max_retries=0
    )
    with client:
        messages: list[openai.types.chat.ChatCompletionMessageParam] = [
            {"role": "user", "content": question.prompt}
        ]
        if not question.stream:
            answer = client.chat.completions.create(
                model=question.model, messages=messages, max_tokens=OUTPUT_TOKENS_MAX
            )
            return answer.choices[0].message.content or ""
        chunks = client.chat.completions.create(
            model=question.model, messages=messages, max_tokens=OUTPUT_TOKENS_MAX, stream=True
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def _ask_anthropic(proxy: str, headers: dict[str, str], question: Question) -> str:
    client = anthropic.Anthropic(
        api_key=question.provider_key, base_url=proxy, default_headers=headers, max_retries=0
    )
    with client:
        messages: list[anthropic.types.MessageParam] = [{"role": "user", "content": question.prompt}]
        if question.stream:
            with client.messages.stream(
                model=question.model, messages=messages, max_tokens=OUTPUT_TOKENS_MAX
            ) as events:
                return "".join(events.text_stream)
        message = client.messages.create(
            model=question.model, messages=messages, max_tokens=OUTPUT_TOKENS_MAX
        )
        return "".join(block.text for block in message.content if block.type == "text")


def _ask_gemini(proxy: str, headers: dict[str, str], question: Question) -> str:
    options = types.HttpOptions(base_url=proxy, headers=headers)
    config = types.GenerateContentConfig(max_output_tokens=OUTPUT_TOKENS_MAX)
    with contextlib.closing(genai.Client(api_key=question.provider_key, http_options=options)) as client:
        if question.stream:
            chunks = client.models.generate_content_stream(
                model=question.model, contents=question.prompt, config=config
            )
            return "".join(chunk.text or "" for chunk in chunks)
        answer = client.models.generate_content(model=question.model, contents=question.prompt, config=config)
        return answer.text or ""


OPENAI = OfficialClient("openai", "gpt-4o", "gpt-4o-2024-08-06", _ask_openai)
ANTHROPIC = OfficialClient("anthropic", "claude-haiku-4-5", "claude-haiku-4-5", _ask_anthropic)
GEMINI = OfficialClient("google", "gemini-2.0-flash", "gemini-2.0-flash", _ask_gemini)
OFFICIAL_CLIENTS = (OPENAI, ANTHROPIC, GEMINI)
