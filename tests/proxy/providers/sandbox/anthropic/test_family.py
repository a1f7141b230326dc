"""The official Anthropic SDK against the simulator, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import anthropic
import pytest
import pytest_asyncio
from anthropic.types import Message, MessageParam, TextBlock, ThinkingBlock

from om_proxy.providers.sandbox import Simulator
from tests.proxy.providers.sandbox.asking import ANSWER, ANSWER_TOKENS, KEY, QUESTION, QUESTION_TOKENS

MODEL = "claude-opus-4-8"
QUESTIONS: list[MessageParam] = [{"role": "user", "content": QUESTION}]


@pytest_asyncio.fixture
async def client(simulator: Simulator) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        api_key=KEY, base_url=simulator.url, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


async def create(client: anthropic.AsyncAnthropic, sim: str = "") -> Message:
    return await client.messages.create(
        model=MODEL, max_tokens=1000, messages=QUESTIONS, extra_headers={"X-Sim": sim}
    )


async def stream(client: anthropic.AsyncAnthropic, sim: str = "") -> Message:
    async with client.messages.stream(
        model=MODEL, max_tokens=1000, messages=QUESTIONS, extra_headers={"X-Sim": sim}
    ) as events:
        return await events.get_final_message()


def text(message: Message) -> str:
    return "".join(block.text for block in message.content if isinstance(block, TextBlock))


async def test_a_message_is_parsed_with_its_usage(client: anthropic.AsyncAnthropic) -> None:
    message = await create(
        client, "reasoning=50; cached=1000; cache_write_5m=200; cache_write_1h=100; tier=priority"
    )

    usage = message.usage
    assert text(message) == ANSWER
    assert isinstance(message.content[0], ThinkingBlock)
    assert (usage.input_tokens, usage.output_tokens) == (QUESTION_TOKENS, ANSWER_TOKENS + 50)
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (1000, 300)
    assert usage.cache_creation is not None
    assert usage.cache_creation.ephemeral_5m_input_tokens == 200
    assert usage.cache_creation.ephemeral_1h_input_tokens == 100
    assert usage.output_tokens_details is not None
    assert usage.output_tokens_details.thinking_tokens == 50
    assert usage.service_tier == "priority"
    assert message._request_id is not None
    assert message._request_id.startswith("req_")


@pytest.mark.parametrize(
    "sim",
    [
        "",
        "chunk=1",
        "chunk=7",
        "gzip=1",
        "gzip=1; chunk=1",
        "crlf=1",
        "pings=9",
        "padding=300",
        "start_input_tokens=1",
    ],
)
async def test_a_stream_is_parsed_however_it_travels(client: anthropic.AsyncAnthropic, sim: str) -> None:
    message = await stream(client, sim)

    assert text(message) == ANSWER
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (QUESTION_TOKENS, ANSWER_TOKENS)


@pytest.mark.parametrize("sim", ["", "reasoning=9; cached=5; cache_write_5m=1; unicode=1"])
async def test_stream_and_plain_message_agree(client: anthropic.AsyncAnthropic, sim: str) -> None:
    plain, streamed = await create(client, sim), await stream(client, f"{sim}; chunk=1")

    assert text(streamed) == text(plain)
    assert streamed.usage == plain.usage


def ask_in_this_thread(url: str) -> tuple[str, str]:
    with anthropic.Anthropic(api_key=KEY, base_url=url, _strict_response_validation=True) as client:
        message = client.messages.create(model=MODEL, max_tokens=1000, messages=QUESTIONS)
        with client.messages.stream(model=MODEL, max_tokens=1000, messages=QUESTIONS) as events:
            return text(message), text(events.get_final_message())


async def test_the_synchronous_client_works_as_well(simulator: Simulator) -> None:
    assert await asyncio.to_thread(ask_in_this_thread, simulator.url) == (ANSWER, ANSWER)


async def test_tokens_are_counted(client: anthropic.AsyncAnthropic) -> None:
    count = await client.messages.count_tokens(model=MODEL, messages=QUESTIONS, system="Be brief")

    assert count.input_tokens == QUESTION_TOKENS + 2


async def test_models_are_listed_and_shown(client: anthropic.AsyncAnthropic) -> None:
    assert MODEL in [model.id async for model in client.models.list()]
    assert (await client.models.retrieve("claude-x")).id == "claude-x"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.APIStatusError),
    ],
)
async def test_an_error_status_raises_its_class(
    client: anthropic.AsyncAnthropic, status: int, kind: type[anthropic.APIStatusError]
) -> None:
    with pytest.raises(kind) as raised:
        await stream(client, f"error={status}")

    assert raised.value.status_code == status
    assert raised.value.request_id is not None


async def test_an_invalid_key_is_an_authentication_error(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.AuthenticationError):
        await create(client.with_options(api_key="invalid"))


async def test_an_error_in_mid_stream_raises(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.APIStatusError, match="Overloaded") as raised:
        await stream(client, "error_after=4")

    # The status had been sent before.
    assert raised.value.status_code == 200


async def test_an_abort_in_mid_stream_raises(client: anthropic.AsyncAnthropic) -> None:
    # The class depends on the SDK's transport.
    with pytest.raises(Exception, match=r"peer closed connection|[Cc]onnection"):
        await stream(client, "abort_after=4")


async def test_a_clean_early_end_passes_for_success(client: anthropic.AsyncAnthropic) -> None:
    assert text(await stream(client, "clean_end_after=5")) == ANSWER[:32]
