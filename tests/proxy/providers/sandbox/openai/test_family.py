"""The official OpenAI SDK against the simulator, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionChunk, ChatCompletionUserMessageParam

from om_proxy.providers.sandbox import Simulator
from tests.proxy.providers.sandbox.asking import ANSWER, ANSWER_TOKENS, KEY, QUESTION, QUESTION_TOKENS

QUESTIONS: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": QUESTION}]


@pytest_asyncio.fixture
async def client(simulator: Simulator) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        api_key=KEY, base_url=f"{simulator.url}/v1", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


async def stream(client: openai.AsyncOpenAI, sim: str = "") -> list[ChatCompletionChunk]:
    chunks = await client.chat.completions.create(
        model="gpt-4o",
        messages=QUESTIONS,
        stream=True,
        stream_options={"include_usage": True},
        extra_headers={"X-Sim": sim},
    )
    return [chunk async for chunk in chunks]


def told(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def test_a_completion_is_parsed_with_its_usage(client: openai.AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(
        model="gpt-4o",
        messages=QUESTIONS,
        n=2,
        extra_headers={"X-Sim": "reasoning=50; cached=1000; cache_write=7"},
    )

    assert [choice.message.content for choice in completion.choices] == [ANSWER, ANSWER]
    assert completion.model == "gpt-4o-2024-08-06"
    assert completion.usage is not None
    assert completion.usage.prompt_tokens == QUESTION_TOKENS + 1007
    assert completion.usage.completion_tokens == 2 * (ANSWER_TOKENS + 50)
    assert completion.usage.prompt_tokens_details is not None
    assert completion.usage.prompt_tokens_details.cached_tokens == 1000
    assert completion.usage.prompt_tokens_details.cache_write_tokens == 7
    assert completion.usage.completion_tokens_details is not None
    assert completion.usage.completion_tokens_details.reasoning_tokens == 100
    assert completion._request_id is not None
    assert completion._request_id.startswith("req_")


@pytest.mark.parametrize(
    "sim", ["", "chunk=1", "chunk=7", "gzip=1", "gzip=1; chunk=1", "crlf=1", "comments=3", "usage=twice"]
)
async def test_a_stream_is_parsed_however_it_travels(client: openai.AsyncOpenAI, sim: str) -> None:
    chunks = await stream(client, sim)

    usage = chunks[-1].usage
    assert told(chunks) == ANSWER
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (QUESTION_TOKENS, ANSWER_TOKENS)


async def test_split_characters_come_together_again(client: openai.AsyncOpenAI) -> None:
    plain = await client.chat.completions.create(
        model="gpt-4o", messages=QUESTIONS, extra_headers={"X-Sim": "unicode=1"}
    )

    assert told(await stream(client, "unicode=1; chunk=1")) == plain.choices[0].message.content


def ask_in_this_thread(url: str) -> tuple[str | None, str]:
    with openai.OpenAI(api_key=KEY, base_url=f"{url}/v1", _strict_response_validation=True) as client:
        completion = client.chat.completions.create(model="gpt-4o", messages=QUESTIONS)
        chunks = list(client.chat.completions.create(model="gpt-4o", messages=QUESTIONS, stream=True))
    return completion.choices[0].message.content, told(chunks)


async def test_the_synchronous_client_works_as_well(simulator: Simulator) -> None:
    assert await asyncio.to_thread(ask_in_this_thread, simulator.url) == (ANSWER, ANSWER)


async def test_models_are_listed_and_shown(client: openai.AsyncOpenAI) -> None:
    assert "gpt-4o" in [model.id async for model in client.models.list()]
    assert (await client.models.retrieve("gpt-x")).id == "gpt-x"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
async def test_an_error_status_raises_its_class(
    client: openai.AsyncOpenAI, status: int, kind: type[openai.APIStatusError]
) -> None:
    with pytest.raises(kind) as raised:
        await stream(client, f"error={status}")

    assert raised.value.status_code == status
    assert raised.value.request_id is not None
    assert raised.value.body


async def test_an_invalid_key_is_an_authentication_error(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as raised:
        await client.with_options(api_key="invalid").chat.completions.create(
            model="gpt-4o", messages=QUESTIONS
        )

    assert raised.value.code == "invalid_api_key"


async def test_an_error_in_mid_stream_raises(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.APIError, match="The server had an error"):
        await stream(client, "error_after=3")


async def test_an_abort_in_mid_stream_raises(client: openai.AsyncOpenAI) -> None:
    # The class depends on the SDK's transport.
    with pytest.raises(Exception, match=r"peer closed connection|[Cc]onnection"):
        await stream(client, "abort_after=3")


async def test_a_clean_early_end_passes_for_success(client: openai.AsyncOpenAI) -> None:
    assert told(await stream(client, "clean_end_after=3")) == ANSWER[:8]
