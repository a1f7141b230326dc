"""The official OpenAI SDK, which validates strictly here, against every route of the simulator."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from om_proxy.providers.sandbox import Simulator
from tests.proxy.providers.sandbox.asking import ANSWER, ANSWER_TOKENS, KEY, QUESTION, QUESTION_TOKENS

SOUND = ("sound.mp3", bytes(32_001), "audio/mpeg")
PICTURE = ("picture.png", bytes(10), "image/png")
TOOL: Any = {"type": "function", "name": "look_up", "parameters": {"type": "object"}, "strict": False}


@pytest_asyncio.fixture
async def client(simulator: Simulator) -> AsyncIterator[Any]:
    async with openai.AsyncOpenAI(
        api_key=KEY, base_url=f"{simulator.url}/v1", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


def sim(directives: str) -> dict[str, str]:
    return {"X-Sim": directives}


@pytest.mark.parametrize(
    ("directives", "kinds"),
    [
        ("", ["message"]),
        ("reasoning=9", ["reasoning", "message"]),
        ("reasoning=9; silent=1", ["reasoning", "message"]),
        ("tool_call=1", ["function_call"]),
        ("refusal=1", ["message"]),
        ("web_searches=2", ["web_search_call", "web_search_call", "message"]),
        ("unicode=1; coding=gzip; chunk=1", ["message"]),
    ],
)
async def test_a_response_is_the_same_whole_and_streamed(
    client: Any, directives: str, kinds: list[str]
) -> None:
    asked = {"model": "gpt-5", "input": QUESTION, "tools": [TOOL], "extra_headers": sim(directives)}

    whole = await client.responses.create(**asked)
    events = [event async for event in await client.responses.create(**asked, stream=True)]

    ended = events[-1].response
    assert [item.type for item in whole.output] == kinds
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (ended.usage, ended.model, ended.status) == (whole.usage, whole.model, "completed")
    assert ended.output_text == whole.output_text
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text
    assert {type(event).__name__ for event in events} != {"BaseModel"}


async def test_silent_reasoning_is_billed_and_not_shown(client: Any) -> None:
    answers = [
        await client.responses.create(
            model="gpt-5", input=QUESTION, extra_headers=sim(f"reasoning=50; silent={silent}")
        )
        for silent in (0, 1)
    ]

    assert [len(answer.output[0].summary) for answer in answers] == [1, 0]
    assert [answer.usage.output_tokens for answer in answers] == [ANSWER_TOKENS + 50] * 2


async def test_a_cap_that_thinking_spends_leaves_a_response_without_text(client: Any) -> None:
    answer = await client.responses.create(
        model="gpt-5", input=QUESTION, max_output_tokens=20, extra_headers=sim("reasoning=50")
    )

    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (answer.output_text, answer.usage.output_tokens) == ("", 20)


async def test_background_work_is_told_under_one_id_and_costs_what_it_would_at_once(client: Any) -> None:
    asked = {"model": "gpt-5", "input": QUESTION, "extra_headers": sim("reasoning=50; cached=9")}

    begun = await client.responses.create(**asked, background=True)
    waiting = await client.responses.retrieve(begun.id, extra_headers=sim("status=in_progress"))
    done = [await client.responses.retrieve(begun.id) for _ in range(2)]
    resumed = [
        event async for event in await client.responses.retrieve(begun.id, stream=True, starting_after=2)
    ]
    at_once = await client.responses.create(**asked)

    assert (begun.status, begun.usage, waiting.status, waiting.usage) == ("queued", None, "in_progress", None)
    assert done[0] == done[1]
    assert (done[0].id, done[0].status, done[0].created_at) == (begun.id, "completed", begun.created_at)
    assert done[0].usage == at_once.usage == resumed[-1].response.usage
    assert resumed[0].sequence_number == 3


@pytest.mark.parametrize("long", [False, True])
async def test_what_a_response_was_told_is_told_again(client: Any, *, long: bool) -> None:
    # More directives than an id has room for are remembered.
    directives = "reasoning=50" + (
        "; cached=123456; cache_write=654321; output_tokens=77; web_searches=9" * long
    )
    answer = await client.responses.create(model="gpt-5", input=QUESTION, extra_headers=sim(directives))

    assert len(answer.id) <= 128
    assert (await client.responses.retrieve(answer.id)).usage == answer.usage


async def test_work_that_was_cancelled_reports_no_usage(client: Any) -> None:
    begun = await client.responses.create(model="gpt-5", input=QUESTION, background=True)

    stopped = await client.responses.cancel(begun.id)

    assert (stopped.id, stopped.status, stopped.usage) == (begun.id, "cancelled", None)


async def test_an_invented_response_is_not_found(client: Any) -> None:
    for invented in ("resp_1", "resp_" + "0" * 24, "resp_" + "0" * 24 + "!!", "resp_" + "0" * 24 + "MTIz"):
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(invented)


async def test_an_unknown_model_is_a_400_here_and_a_404_elsewhere(client: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        await client.responses.create(model="missing-x", input=QUESTION)
    assert refusal.value.code == "model_not_found"

    with pytest.raises(openai.NotFoundError):
        await client.embeddings.create(model="missing-x", input=QUESTION)


async def test_an_earlier_response_counts_as_input_again(client: Any) -> None:
    first = await client.responses.create(model="gpt-5", input=QUESTION)

    second = await client.responses.create(model="gpt-5", input=QUESTION, previous_response_id=first.id)

    assert second.usage.input_tokens == 2 * QUESTION_TOKENS


@pytest.mark.parametrize("dimensions", [8, 1_536])
async def test_embeddings_are_the_same_as_numbers_and_as_bytes(client: Any, dimensions: int) -> None:
    asked = {"model": "text-embedding-3-small", "input": [QUESTION, "x"], "dimensions": dimensions}
    floats, packed = [
        (
            await client.embeddings.with_raw_response.create(**asked, encoding_format=encoding)
        ).http_response.json()
        for encoding in ("float", "base64")
    ]

    numbers = floats["data"][1]["embedding"]
    assert list(struct.unpack(f"<{dimensions}f", base64.b64decode(packed["data"][1]["embedding"]))) == numbers
    assert floats["usage"] == packed["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


async def test_pictures_are_counted_by_shape_quality_and_number(client: Any) -> None:
    asked = {"model": "gpt-image-1", "prompt": QUESTION, "quality": "low"}
    one = await client.images.generate(**asked, size="1024x1024")
    wide = await client.images.generate(**asked, size="1536x1024", n=2)
    changed = await client.images.edit(**asked, size="1024x1024", image=[PICTURE, PICTURE])

    assert (one.usage.input_tokens, one.usage.output_tokens) == (QUESTION_TOKENS, 272)
    assert (len(wide.data), wide.usage.output_tokens) == (2, 2 * 408)
    assert changed.usage.input_tokens_details.image_tokens == 2 * 323


async def test_a_stream_of_pictures_ends_with_usage(client: Any) -> None:
    asked = {"model": "gpt-image-1", "prompt": QUESTION, "quality": "low", "size": "1024x1024"}
    events = [event async for event in await client.images.generate(**asked, stream=True, partial_images=2)]

    assert [event.type.rpartition(".")[2] for event in events] == [
        "partial_image",
        "partial_image",
        "completed",
    ]
    assert events[-1].usage.output_tokens == 272 + 200


async def test_older_pictures_have_an_address_and_no_usage(client: Any) -> None:
    answer = await client.images.generate(model="dall-e-3", prompt=QUESTION)

    assert answer.data[0].url.startswith("https://")
    assert answer.usage is None


# The SDK has other wishes for the future of an overload.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
@pytest.mark.parametrize(("directives", "seconds"), [("", 3), ("seconds=61", 61)])
async def test_audio_is_counted_by_its_length(client: Any, directives: str, seconds: int) -> None:
    asked = {"file": SOUND, "extra_headers": sim(directives)}
    by_time = await client.audio.transcriptions.create(model="whisper-1", **asked)
    by_token = await client.audio.transcriptions.create(model="gpt-4o-transcribe", **asked)
    told = await client.audio.translations.create(model="whisper-1", response_format="verbose_json", **asked)

    assert by_time.usage.seconds == seconds
    assert by_token.usage.input_token_details.audio_tokens == 10 * seconds
    assert told.duration == seconds


@pytest.mark.parametrize("wanted", ["text", "srt", "vtt"])
async def test_written_transcripts_have_no_usage(client: Any, wanted: str) -> None:
    text = await client.audio.transcriptions.create(model="whisper-1", file=SOUND, response_format=wanted)

    assert ANSWER in text
    assert "usage" not in text


async def test_a_streamed_transcript_is_the_whole_one(client: Any) -> None:
    events = [
        event
        async for event in await client.audio.transcriptions.create(
            model="gpt-4o-transcribe", file=SOUND, stream=True
        )
    ]

    assert "".join(event.delta for event in events[:-1]) == events[-1].text == ANSWER
    assert events[-1].usage.output_tokens == ANSWER_TOKENS


async def test_nothing_is_flagged_in_any_of_thirteen_categories(client: Any) -> None:
    answer = await client.moderations.create(input=[QUESTION, QUESTION])

    assert [result.flagged for result in answer.results] == [False, False]
    assert len(answer.results[0].categories.model_dump()) == 13


async def test_a_batch_answers_each_line_of_its_file(client: Any) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": QUESTION}]}
    bodies = [body, {**body, "model": "gpt-4o--sim.reasoning.50"}, {**body, "model": "missing-x"}]
    lines = [
        json.dumps({"custom_id": str(at), "method": "POST", "url": "/v1/chat/completions", "body": asked})
        for at, asked in enumerate(bodies)
    ]
    file = await client.files.create(file=("a.jsonl", "\n".join(lines).encode()), purpose="batch")

    begun = await client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    done = await client.batches.retrieve(begun.id)
    output = [
        json.loads(line) for line in (await client.files.content(done.output_file_id)).text.splitlines()
    ]
    errors = (await client.files.content(done.error_file_id)).text

    assert (begun.status, begun.usage, done.status) == ("validating", None, "completed")
    assert (done.request_counts.completed, done.request_counts.failed) == (2, 1)
    assert (done.usage.input_tokens, done.usage.output_tokens) == (
        2 * QUESTION_TOKENS,
        2 * ANSWER_TOKENS + 50,
    )
    assert [line["custom_id"] for line in output] == ["0", "1"]
    assert json.loads(errors)["response"]["status_code"] == 404


# The SDK says when the route ends; until then it can be called.
@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
async def test_a_video_is_done_when_it_is_asked_for_again(client: Any) -> None:
    begun = await client.videos.create(model="sora-2", prompt=QUESTION, seconds="8", size="1280x720")
    done = await client.videos.retrieve(begun.id)

    assert (begun.status, done.status, done.id) == ("queued", "completed", begun.id)
    assert (done.model, done.seconds, done.size) == ("sora-2", "8", "1280x720")
    assert (await client.videos.retrieve(begun.id, extra_headers=sim("status=failed"))).error is not None
    assert (await client.videos.download_content(begun.id)).content
    assert (await client.videos.delete(begun.id)).deleted


async def test_a_file_is_listed_read_and_deleted(client: Any) -> None:
    file = await client.files.create(file=("a.jsonl", b"{}"), purpose="batch")

    assert [each.id async for each in client.files.list()] == [file.id]
    assert (await client.files.content(file.id)).content == b"{}"
    await client.files.delete(file.id)
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(file.id)


async def test_a_completion_writes_what_chat_would(client: Any, simulator: Simulator) -> None:
    # Reality has null where the type has only the reasons.
    lenient = openai.AsyncOpenAI(api_key=KEY, base_url=f"{simulator.url}/v1", max_retries=0)
    asked: Any = {"model": "gpt-3.5-turbo-instruct", "prompt": [QUESTION, QUESTION], "max_tokens": 4}
    whole = await client.completions.create(**asked)
    async with lenient:
        stream = await lenient.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]

    assert [choice.text for choice in whole.choices] == [ANSWER[:16]] * 2
    assert [choice.finish_reason for choice in whole.choices] == ["length"] * 2
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens == 8


@pytest.mark.parametrize("streamed", [False, True])
async def test_chat_calls_a_tool_and_declines(client: Any, *, streamed: bool) -> None:
    asked = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": QUESTION}],
        "tools": [{"type": "function", "function": {"name": "look_up", "parameters": {}}}],
        "stream": streamed,
    }
    called = await client.chat.completions.create(**asked, extra_headers=sim("tool_call=1"))
    declined = await client.chat.completions.create(**asked, extra_headers=sim("refusal=1"))

    if not streamed:
        (call,) = called.choices[0].message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("look_up", {"city": "Bern"})
        assert (called.choices[0].finish_reason, called.usage.completion_tokens) == ("tool_calls", 4)
        assert declined.choices[0].message.content is None
        assert declined.choices[0].message.refusal
        return
    calls = [call async for chunk in called for call in chunk.choices[0].delta.tool_calls or ()]
    assert json.loads("".join(call.function.arguments for call in calls)) == {"city": "Bern"}
    assert "".join([chunk.choices[0].delta.refusal or "" async for chunk in declined])


@pytest.mark.parametrize(
    ("flavour", "output", "more"),
    [
        ("xai", ANSWER_TOKENS, "cost_in_usd_ticks"),
        ("deepseek", ANSWER_TOKENS + 5, "prompt_cache_hit_tokens"),
        ("openrouter", ANSWER_TOKENS + 5, "cost"),
        ("mistral", ANSWER_TOKENS + 5, "num_cached_tokens"),
        ("groq", ANSWER_TOKENS + 5, "queue_time"),
    ],
)
async def test_a_compatible_provider_writes_usage_its_own_way(
    client: Any, flavour: str, output: int, more: str
) -> None:
    asked = {"model": "x", "messages": [{"role": "user", "content": QUESTION}]}
    headers = sim(f"flavour={flavour}; reasoning=5; cached=2")
    whole = await client.chat.completions.create(**asked, extra_headers=headers)
    chunks = [
        c async for c in await client.chat.completions.create(**asked, stream=True, extra_headers=headers)
    ]

    assert (whole.usage.completion_tokens, whole.usage.total_tokens) == (output, 5 + ANSWER_TOKENS + 5)
    assert more in whole.usage.model_extra
    # Nobody asked for it, and it stands on a chunk with a choice.
    assert (chunks[-1].usage, len(chunks[-1].choices)) == (whole.usage, 1)
