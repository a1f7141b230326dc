"""The official Google SDK against the simulator, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from google import genai
from google.genai import errors, types
from google.genai.client import AsyncClient

from om_proxy.providers.sandbox import Simulator
from tests.proxy.providers.sandbox.asking import ANSWER, ANSWER_TOKENS, KEY, QUESTION, QUESTION_TOKENS

MODEL = "gemini-2.5-flash"

# The SDK's asynchronous transport subclasses aiohttp's session, which aiohttp discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")


@pytest_asyncio.fixture
async def client(simulator: Simulator) -> AsyncIterator[AsyncClient]:
    async with genai.Client(
        api_key=KEY, http_options=types.HttpOptions(base_url=simulator.url)
    ).aio as client:
        yield client


def directed(sim: str) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(http_options=types.HttpOptions(headers={"X-Sim": sim}))


async def stream(client: AsyncClient, sim: str = "") -> list[types.GenerateContentResponse]:
    frames = await client.models.generate_content_stream(model=MODEL, contents=QUESTION, config=directed(sim))
    return [frame async for frame in frames]


def told(frames: list[types.GenerateContentResponse]) -> str:
    return "".join(frame.text or "" for frame in frames)


async def test_a_generation_is_parsed_with_its_usage(client: AsyncClient) -> None:
    answer = await client.models.generate_content(
        model=MODEL, contents=QUESTION, config=directed("reasoning=50; cached=1000")
    )

    usage = answer.usage_metadata
    assert answer.text == ANSWER
    assert usage is not None
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (QUESTION_TOKENS + 1000, 1000)
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (ANSWER_TOKENS, 50)
    assert usage.total_token_count == QUESTION_TOKENS + 1000 + ANSWER_TOKENS + 50


@pytest.mark.parametrize("sim", ["", "chunk=1", "chunk=7", "gzip=1", "gzip=1; chunk=1", "usage=unsteady"])
async def test_a_stream_is_parsed_however_it_travels(client: AsyncClient, sim: str) -> None:
    frames = await stream(client, sim)

    usage = frames[-1].usage_metadata
    assert told(frames) == ANSWER
    assert usage is not None
    assert (usage.prompt_token_count, usage.candidates_token_count) == (QUESTION_TOKENS, ANSWER_TOKENS)


async def test_split_characters_come_together_again(client: AsyncClient) -> None:
    plain = await client.models.generate_content(model=MODEL, contents=QUESTION, config=directed("unicode=1"))

    assert told(await stream(client, "unicode=1; chunk=1")) == plain.text


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_both_versions_of_the_address_answer(simulator: Simulator, version: str) -> None:
    options = types.HttpOptions(base_url=simulator.url, api_version=version)
    config = types.GenerateContentConfig(max_output_tokens=5, system_instruction="Be brief")
    async with genai.Client(api_key=KEY, http_options=options).aio as client:
        answer = await client.models.generate_content(model=MODEL, contents=QUESTION, config=config)

    assert answer.text == ANSWER[:20]
    assert answer.usage_metadata is not None
    assert answer.usage_metadata.prompt_token_count == QUESTION_TOKENS + 2
    assert simulator.received[0].path == f"/{version}/models/{MODEL}:generateContent"


def ask_in_this_thread(url: str) -> tuple[str | None, str]:
    with genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=url)) as client:
        answer = client.models.generate_content(model=MODEL, contents=QUESTION)
        frames = list(client.models.generate_content_stream(model=MODEL, contents=QUESTION))
    return answer.text, told(frames)


async def test_the_synchronous_client_works_as_well(simulator: Simulator) -> None:
    assert await asyncio.to_thread(ask_in_this_thread, simulator.url) == (ANSWER, ANSWER)


async def test_tokens_are_counted(client: AsyncClient) -> None:
    count = await client.models.count_tokens(model=MODEL, contents=QUESTION)

    assert count.total_tokens == QUESTION_TOKENS


async def test_models_are_listed_and_shown(client: AsyncClient) -> None:
    assert f"models/{MODEL}" in [model.name async for model in await client.models.list()]
    assert (await client.models.get(model="gemini-x")).name == "models/gemini-x"


@pytest.mark.parametrize(
    ("status", "kind", "name"),
    [
        (400, errors.ClientError, "INVALID_ARGUMENT"),
        (403, errors.ClientError, "PERMISSION_DENIED"),
        (404, errors.ClientError, "NOT_FOUND"),
        (429, errors.ClientError, "RESOURCE_EXHAUSTED"),
        (500, errors.ServerError, "INTERNAL"),
        (503, errors.ServerError, "UNAVAILABLE"),
    ],
)
async def test_an_error_status_raises_its_class(
    client: AsyncClient, status: int, kind: type[errors.APIError], name: str
) -> None:
    with pytest.raises(kind) as raised:
        await stream(client, f"error={status}")

    assert (raised.value.code, raised.value.status) == (status, name)


async def test_an_invalid_key_is_a_bad_request(simulator: Simulator) -> None:
    options = types.HttpOptions(base_url=simulator.url)
    async with genai.Client(api_key="invalid", http_options=options).aio as client:
        with pytest.raises(errors.ClientError, match="API key not valid") as raised:
            await client.models.generate_content(model=MODEL, contents=QUESTION)

    assert raised.value.code == 400


async def test_an_error_in_mid_stream_raises(client: AsyncClient) -> None:
    with pytest.raises(errors.APIError, match="UNAVAILABLE"):
        await stream(client, "error_after=2")


async def test_an_abort_in_mid_stream_raises(client: AsyncClient) -> None:
    # The class depends on the SDK's transport.
    with pytest.raises(Exception, match=r"payload is not completed|[Cc]onnection"):
        await stream(client, "abort_after=2")


async def test_a_clean_early_end_passes_for_success(client: AsyncClient) -> None:
    assert told(await stream(client, "clean_end_after=2")) == ANSWER[:32]
