"""Every route of the official Python SDKs, called once each: `python calls.py URL`, told as JSON lines.

Runs in two environments, so it imports nothing else of ours and says nothing of types: what one generation
calls a parameter, the other may not. The request's user names the call, and its events tell what it cost.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import anthropic
import openai
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

QUESTION = "How are you?"
SOUND = ("sound.mp3", bytes(100_000), "audio/mpeg")
PICTURE = ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(64), "image/png")
STATUSES = (400, 401, 402, 403, 404, 413, 429, 500, 503, 529)
MESSAGES = [{"role": "user", "content": QUESTION}]
TOOL = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
HANG_TIMEOUT_S = 0.75


class Calls:
    """The clients of one environment, in front of one base URL."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url = url
        self._headers = headers
        self.openai = openai.OpenAI(api_key="a-key", base_url=f"{url}/v1", max_retries=0)
        self.shim = openai.OpenAI(api_key="a-key", base_url=f"{url}/v1beta/openai/", max_retries=0)
        self.anthropic = anthropic.Anthropic(api_key="a-key", base_url=url, max_retries=0)
        self.google = genai.Client(
            api_key="a-key", http_options=types.HttpOptions(base_url=url, headers=headers)
        )

    def headers(self, call: str, sim: str = "") -> dict[str, str]:
        return {**self._headers, "X-OM-User-Id": call, **({"X-Sim": sim} if sim else {})}

    def of(self, client: Any, call: str, sim: str = "", **options: Any) -> Any:
        return client.with_options(default_headers=self.headers(call, sim), **options)

    def google_config(self, call: str, sim: str = "", **config: Any) -> dict[str, Any]:
        return {"http_options": {"headers": self.headers(call, sim)}, **config}


def openai_calls(calls: Calls) -> Iterable[tuple[str, Callable[[Any], Any]]]:
    yield "chat", lambda c: c.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=64)
    yield (
        "chat_stream",
        lambda c: _chat_text(
            c.chat.completions.create(model="gpt-4o", messages=MESSAGES, max_tokens=64, stream=True)
        ),
    )
    yield (
        "completion",
        lambda c: c.completions.create(model="gpt-3.5-turbo-instruct", prompt=QUESTION, max_tokens=64),
    )
    yield (
        "completion_stream",
        lambda c: "".join(
            chunk.choices[0].text
            for chunk in c.completions.create(
                model="gpt-3.5-turbo-instruct", prompt=QUESTION, max_tokens=64, stream=True
            )
        ),
    )
    yield (
        "response",
        lambda c: c.responses.create(model="gpt-5", input=QUESTION, max_output_tokens=64).output_text,
    )
    yield (
        "response_stream",
        lambda c: _deltas(
            c.responses.create(model="gpt-5", input=QUESTION, max_output_tokens=64, stream=True),
            "response.output_text.delta",
        ),
    )
    yield "response_background", _background
    yield "response_input_tokens", _input_tokens
    yield (
        "embedding",
        lambda c: len(
            c.embeddings.create(model="text-embedding-3-small", input=[QUESTION, QUESTION]).data[1].embedding
        ),
    )
    yield (
        "embedding_float",
        lambda c: len(
            c.embeddings.create(
                model="text-embedding-3-small", input=QUESTION, encoding_format="float", dimensions=64
            )
            .data[0]
            .embedding
        ),
    )
    yield (
        "image",
        lambda c: len(
            base64.b64decode(
                c.images.generate(model="gpt-image-1", prompt=QUESTION, quality="low", size="1024x1024", n=2)
                .data[1]
                .b64_json
            )
        ),
    )
    yield (
        "image_stream",
        lambda c: [
            event.type
            for event in c.images.generate(
                model="gpt-image-1",
                prompt=QUESTION,
                quality="low",
                size="1024x1024",
                stream=True,
                partial_images=1,
            )
        ],
    )
    yield (
        "image_by_size",
        lambda c: c.images.generate(model="dall-e-3", prompt=QUESTION, size="1024x1024").data[0].url,
    )
    yield (
        "image_edit",
        lambda c: len(
            c.images.edit(
                model="gpt-image-1", image=PICTURE, prompt=QUESTION, quality="low", size="1024x1024"
            ).data
        ),
    )
    yield (
        "image_edit_stream",
        lambda c: [
            event.type
            for event in c.images.edit(
                model="gpt-image-1",
                image=PICTURE,
                prompt=QUESTION,
                quality="low",
                size="1024x1024",
                stream=True,
            )
        ],
    )
    yield (
        "image_variation",
        lambda c: len(c.images.create_variation(model="dall-e-2", image=PICTURE, size="256x256", n=2).data),
    )
    yield "transcription", lambda c: c.audio.transcriptions.create(model="gpt-4o-transcribe", file=SOUND).text
    yield (
        "transcription_stream",
        lambda c: _deltas(
            c.audio.transcriptions.create(model="gpt-4o-transcribe", file=SOUND, stream=True),
            "transcript.text.delta",
        ),
    )
    yield "transcription_by_time", lambda c: c.audio.transcriptions.create(model="whisper-1", file=SOUND).text
    yield "translation", lambda c: c.audio.translations.create(model="whisper-1", file=SOUND).text
    yield (
        "speech",
        lambda c: len(c.audio.speech.create(model="tts-1", voice="alloy", input=QUESTION).read()) > 0,
    )
    yield (
        "speech_events",
        lambda c: (
            b"speech.audio.done"
            in c.audio.speech.create(
                model="gpt-4o-mini-tts", voice="alloy", input=QUESTION, stream_format="sse"
            ).read()
        ),
    )
    yield "moderation", lambda c: c.moderations.create(input=QUESTION).results[0].flagged
    yield "models", lambda c: len(c.models.list().data) > 0
    yield "model", lambda c: c.models.retrieve("gpt-4o").id
    yield "files", _files
    yield "batch", _batch
    yield (
        "tool_call",
        lambda c: (
            c.chat.completions.create(
                model="gpt-4o",
                messages=MESSAGES,
                max_tokens=64,
                tools=[{"type": "function", "function": TOOL}],
            )
            .choices[0]
            .message.tool_calls[0]
            .function.name
        ),
    )


def _chat_text(chunks: Iterable[Any]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def _deltas(events: Iterable[Any], kind: str) -> str:
    return "".join(event.delta for event in events if event.type == kind)


def _background(client: Any) -> Any:
    begun = client.responses.create(model="gpt-5", input=QUESTION, max_output_tokens=64, background=True)
    polled = [client.responses.retrieve(begun.id) for _ in range(3)]
    assert {poll.id for poll in polled} == {begun.id}
    return [begun.status, polled[-1].status, polled[-1].output_text]


def _input_tokens(client: Any) -> Any:
    # The previous generation has no method for it.
    return client.post("/responses/input_tokens", cast_to=object, body={"model": "gpt-5", "input": QUESTION})[
        "input_tokens"
    ]


def _files(client: Any) -> Any:
    file = client.files.create(file=("lines.jsonl", b"{}\n", "application/jsonl"), purpose="batch")
    listed = file.id in [each.id for each in client.files.list().data]
    content = client.files.content(file.id).read().decode()
    return [listed, client.files.retrieve(file.id).bytes, content, client.files.delete(file.id).deleted]


def _batch(client: Any) -> Any:
    body = {"model": "gpt-4o", "messages": MESSAGES, "max_tokens": 64}
    line = {"custom_id": "one", "method": "POST", "url": "/v1/chat/completions", "body": body}
    content = (json.dumps(line) + "\n" + json.dumps({**line, "custom_id": "two"}) + "\n").encode()
    file = client.files.create(file=("batch.jsonl", content, "application/jsonl"), purpose="batch")
    begun = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    done = client.batches.retrieve(begun.id)
    lines = client.files.content(done.output_file_id).read().decode().splitlines()
    client.batches.retrieve(begun.id)
    return [done.status, [json.loads(line)["custom_id"] for line in lines]]


def anthropic_calls(calls: Calls) -> Iterable[tuple[str, Callable[[Any], Any]]]:
    asked: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 64, "messages": MESSAGES}
    yield "message", lambda c: c.messages.create(**asked).content[0].text
    yield "message_stream", lambda c: _message_text(c, asked)
    yield (
        "count_tokens",
        lambda c: c.messages.count_tokens(model="claude-haiku-4-5", messages=MESSAGES).input_tokens,
    )
    yield "anthropic_models", lambda c: len(c.models.list().data) > 0
    yield "message_batch", lambda c: _message_batch(c, asked)


def _message_text(client: Any, asked: dict[str, Any]) -> str:
    with client.messages.stream(**asked) as events:
        return "".join(events.text_stream)


def _message_batch(client: Any, asked: dict[str, Any]) -> Any:
    requests = [{"custom_id": name, "params": asked} for name in ("one", "two")]
    begun = client.messages.batches.create(requests=requests)
    ended = client.messages.batches.retrieve(begun.id)
    # The SDK would follow `results_url`, past any proxy.
    raw = client.get(f"/v1/messages/batches/{begun.id}/results", cast_to=str)
    results = [json.loads(line) for line in raw.splitlines()]
    return [ended.processing_status, [result["result"]["type"] for result in results]]


def google_calls(calls: Calls) -> Iterable[tuple[str, Callable[[Any], Any]]]:
    model = "gemini-2.5-flash"

    def config(call: str, **more: Any) -> dict[str, Any]:
        return calls.google_config(call, **more)

    yield (
        "generate",
        lambda c: (
            c.models.generate_content(
                model=model, contents=QUESTION, config=config("generate", max_output_tokens=64)
            ).text
        ),
    )
    yield (
        "generate_stream",
        lambda c: "".join(
            chunk.text or ""
            for chunk in c.models.generate_content_stream(
                model=model, contents=QUESTION, config=config("generate_stream", max_output_tokens=64)
            )
        ),
    )
    yield (
        "embed",
        lambda c: len(
            c.models.embed_content(model="gemini-embedding-2", contents=QUESTION, config=config("embed"))
            .embeddings[0]
            .values
        ),
    )
    yield (
        "google_count_tokens",
        lambda c: (
            c.models.count_tokens(
                model=model, contents=QUESTION, config=config("google_count_tokens")
            ).total_tokens
        ),
    )
    yield "google_models", lambda c: len(list(c.models.list(config=config("google_models")))) > 0
    yield "cached_generate", lambda c: _cached(calls, c, model)


def _cached(calls: Calls, client: Any, model: str) -> Any:
    cache = client.caches.create(
        model=model,
        config=calls.google_config("cached_generate", contents=QUESTION * 10),
    )
    config = calls.google_config("cached_generate", max_output_tokens=64, cached_content=cache.name)
    answer = client.models.generate_content(model=model, contents=QUESTION, config=config)
    client.caches.delete(name=cache.name, config=calls.google_config("cached_generate"))
    return [answer.text, answer.usage_metadata.cached_content_token_count]


def predicted_calls(calls: Calls) -> Iterable[tuple[str, Callable[[Any], Any]]]:
    """Pictures and videos: the newest generation refuses them here by itself."""
    yield (
        "imagen",
        lambda c: len(
            c.models.generate_images(
                model="imagen-4.0-generate-001",
                prompt=QUESTION,
                config=calls.google_config("imagen", number_of_images=2),
            ).generated_images
        ),
    )
    yield "veo", lambda c: _video(calls, c)


def _video(calls: Calls, client: Any) -> Any:
    config = calls.google_config("veo", duration_seconds=6)
    operation = client.models.generate_videos(model="veo-2.0-generate-001", prompt=QUESTION, config=config)
    for _ in range(2):
        operation = client.operations.get(operation, config=calls.google_config("veo"))
    return [operation.done, len(operation.response.generated_videos)]


def failures(calls: Calls) -> Iterable[tuple[str, Callable[[], Any]]]:
    """Ask each provider for each error; a stream is read to its end."""
    for status in STATUSES:
        yield from _failure(calls, f"error_{status}", f"error={status}", stream=False)
    yield from _failure(calls, "error_in_stream", "error_after=2", stream=True)
    yield from _failure(calls, "stream_cut", "abort_after=3; interval_ms=20", stream=True)
    yield from _failure(calls, "stream_ends_early", "clean_end_after=3", stream=True)
    yield from _failure(calls, "stream_hangs", "hang_after=2", stream=True)


def _failure(calls: Calls, name: str, sim: str, *, stream: bool) -> Iterable[tuple[str, Callable[[], Any]]]:
    def ask_openai() -> Any:
        client = calls.of(calls.openai, f"openai_{name}", sim, timeout=HANG_TIMEOUT_S)
        answer = client.chat.completions.create(
            model="gpt-4o", messages=MESSAGES, max_tokens=64, stream=stream
        )
        return len(list(answer)) if stream else None

    def ask_anthropic() -> Any:
        client = calls.of(calls.anthropic, f"anthropic_{name}", sim, timeout=HANG_TIMEOUT_S)
        answer = client.messages.create(
            model="claude-haiku-4-5", messages=MESSAGES, max_tokens=64, stream=stream
        )
        return len(list(answer)) if stream else None

    def ask_google() -> Any:
        config = calls.google_config(f"google_{name}", sim, max_output_tokens=64)
        config["http_options"]["timeout"] = int(HANG_TIMEOUT_S * 1000)
        ask: Any = (
            calls.google.models.generate_content_stream if stream else calls.google.models.generate_content
        )
        answer = ask(model="gemini-2.5-flash", contents=QUESTION, config=config)
        return len(list(answer)) if stream else None

    yield f"openai_{name}", ask_openai
    yield f"anthropic_{name}", ask_anthropic
    yield f"google_{name}", ask_google


def tell(call: str, act: Callable[[], Any]) -> None:
    """Print what a call gave, or what it raised."""
    started = time.monotonic()
    told: dict[str, Any] = {"call": call}
    try:
        answer = act()
        told["answer"] = answer.choices[0].message.content if call == "chat" else answer
        if call == "completion":
            told["answer"] = answer.choices[0].text
    except Exception as error:  # noqa: BLE001 - which one is what is asked.
        told["error"] = type(error).__name__
        told["bases"] = [base.__name__ for base in type(error).__mro__]
        told["status"] = getattr(error, "status_code", getattr(error, "code", None))
        told["message"] = str(error)[:300]
        if not isinstance(error, (openai.OpenAIError, anthropic.AnthropicError, genai_errors.APIError)):
            told["foreign"] = True
    told["seconds"] = round(time.monotonic() - started, 3)
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def main() -> None:
    url, headers = sys.argv[1], json.loads(os.environ["SDK_HEADERS"])
    calls = Calls(url, headers)
    for name, act in openai_calls(calls):
        sim = "tool_call=1" if name == "tool_call" else ""
        client = calls.of(calls.openai, name, sim)
        tell(name, lambda act=act, client=client: act(client))  # type: ignore[misc]
    for name, act in anthropic_calls(calls):
        client = calls.of(calls.anthropic, name)
        tell(name, lambda act=act, client=client: act(client))  # type: ignore[misc]
    for name, act in (*google_calls(calls), *predicted_calls(calls)):
        tell(name, lambda act=act: act(calls.google))  # type: ignore[misc]
    shim = calls.of(calls.shim, "shim_chat", "reasoning=9")
    tell(
        "shim_chat",
        lambda: (
            shim.chat.completions.create(model="gemini-2.5-flash", messages=MESSAGES, max_tokens=64)
            .choices[0]
            .message.content
        ),
    )
    for name, fail in failures(calls):
        tell(name, fail)
    with contextlib.suppress(Exception):
        calls.google.close()


if __name__ == "__main__":
    main()
