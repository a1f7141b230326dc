"""The most that a request in OpenAI's dialect may consume, route by route."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest

from om_proxy.call.bound import MESSAGE_OVERHEAD_TOKENS, Bound, Ceiling, ModelLimits, Unbounded, bound
from om_proxy.metering.usage import Unit
from om_proxy.refusals.problem import invalid_field, invalid_json
from tests.proxy.exchange import call_of, read_of

LIMITS = ModelLimits(context_window=200_000, max_output=8_000)
UNKNOWN = ModelLimits()
FORM = "multipart/form-data; boundary=b1"


def bounded(path: str, body: object, limits: ModelLimits = LIMITS, *, content_type: str = "") -> Bound:
    answer = bound(call_of(path, body, content_type=content_type), limits)
    assert isinstance(answer, Bound), answer
    return answer


def blamed(path: str, body: object, limits: ModelLimits = LIMITS) -> str:
    answer = bound(call_of(path, body), limits)
    assert isinstance(answer, Unbounded), answer
    return answer.field


def form(files: dict[str, bytes] | None = None, **texts: str) -> bytes:
    parts = [
        f'--b1\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in texts.items()
    ]
    for name, content in (files or {}).items():
        head = f'--b1\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'.encode()
        parts.append(head + content + b"\r\n")
    return b"".join(parts) + b"--b1--\r\n"


def wave(seconds: int, *, rate: int = 8_000, tag: int = 1) -> bytes:
    sound = bytes(rate * 2 * seconds)
    fmt = struct.pack("<HHIIHH", tag, 1, rate, rate * 2, 2, 16)
    inside = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", len(inside)) + inside


@pytest.mark.parametrize(
    ("fields", "choices"),
    [
        ({"prompt": "Hi"}, 1),
        ({"prompt": ["Hi", "Ho"]}, 2),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({"prompt": "Hi", "n": 3}, 3),
        ({"prompt": ["Hi", "Ho"], "n": 3, "best_of": 5}, 10),
    ],
)
def test_a_completion_is_charged_for_every_candidate_of_every_prompt(
    fields: dict[str, Any], choices: int
) -> None:
    body = {"model": "gpt-3.5-turbo-instruct", "max_tokens": 10, **fields}
    prompts = len(fields["prompt"]) if isinstance(fields["prompt"], list) and fields["prompt"][0] != 1 else 1

    prompt, output = bounded("/v1/completions", body).ceilings

    assert prompt.amount == len(orjson.dumps(body)) + prompts * MESSAGE_OVERHEAD_TOKENS
    assert output == Ceiling(10 * choices, (Unit.OUTPUT_TOKENS,))


def test_embeddings_are_bounded_by_their_text_alone() -> None:
    body = {"model": "text-embedding-3-small", "input": ["Hi", "Ho"]}

    [prompt] = bounded("/v1/embeddings", body, UNKNOWN).ceilings

    assert prompt == Ceiling(len(orjson.dumps(body)) + 2 * MESSAGE_OVERHEAD_TOKENS, (Unit.INPUT_TOKENS,))


def test_a_response_is_bounded_by_its_text_and_its_cap() -> None:
    body = {"model": "gpt-5", "input": "Hi", "max_output_tokens": 100}

    prompt, output = bounded("/v1/responses", body).ceilings

    assert prompt.amount == len(orjson.dumps(body)) + MESSAGE_OVERHEAD_TOKENS
    assert output == Ceiling(100, (Unit.OUTPUT_TOKENS,))
    assert bounded("/v1/responses", {"model": "gpt-5", "input": "Hi"}).ceilings[1].amount == 8_000
    assert bounded("/v1/responses/compact", {"model": "gpt-5", "input": []}).ceilings[1].amount == 8_000


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]},
            "input[0].content[0]",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "a"}}]}]},
            "input[0].content[0]",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://x"}]}]},
            "input[0].content[0]",
        ),
        (
            {
                "input": [
                    {
                        "type": "function_call_output",
                        "output": [{"type": "input_file", "file_url": "https://x"}],
                    }
                ]
            },
            "input[0].output[0]",
        ),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, "input[0]"),
    ],
)
def test_what_is_at_the_provider_is_bounded_by_the_window(fields: dict[str, Any], field: str) -> None:
    body = {"model": "gpt-5", "max_output_tokens": 10, **fields}

    assert bounded("/v1/responses", body).ceilings[0].amount == 200_000
    assert blamed("/v1/responses", body, UNKNOWN) == field


def test_tools_at_the_provider_read_the_window_again_and_have_their_fees() -> None:
    tools = [{"type": "web_search"}, {"type": "file_search"}, {"type": "code_interpreter"}]
    body = {"model": "gpt-5", "input": "Hi", "max_output_tokens": 10, "max_tool_calls": 4, "tools": tools}

    prompt, output, *fees = bounded("/v1/responses", body).ceilings

    assert (prompt.amount, output.amount) == (5 * 200_000, 10)
    units = (Unit.CODE_EXECUTIONS, Unit.FILE_SEARCHES, Unit.WEB_SEARCHES)
    assert fees == [Ceiling(4, (unit,)) for unit in units]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tools": [{"type": "web_search_preview"}]}, "max_tool_calls"),
        ({"tools": [{"type": "function"}, {"type": "mcp"}], "max_tool_calls": 3}, "tools[1].type"),
        ({"tools": [{"type": "image_generation"}], "max_tool_calls": 3}, "tools[0].type"),
        ({"tools": [{"type": "shell"}], "max_tool_calls": 3}, "tools[0].type"),
        ({"tools": [{}], "max_tool_calls": 3}, "tools[0].type"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ],
)
def test_what_runs_other_models_or_without_end_is_named(fields: dict[str, Any], field: str) -> None:
    assert blamed("/v1/responses", {"model": "gpt-5", "input": "Hi", **fields}) == field


def test_tools_of_the_client_cost_no_turn() -> None:
    tools = [{"type": "function", "name": "f"}, {"type": "local_shell"}, {"type": "custom", "name": "c"}]

    assert (
        bounded("/v1/responses", {"model": "gpt-5", "input": "Hi", "tools": tools}).ceilings[0].amount
        < 10_000
    )


def test_a_tool_that_a_compatible_provider_runs_has_no_bound() -> None:
    body = {"model": "m", "messages": [], "tools": [{"type": "function"}, {"type": "browser_search"}]}

    assert blamed("/v1/chat/completions", body) == "tools[1].type"


@pytest.mark.parametrize(
    ("fields", "tokens", "pieces"),
    [
        ({}, 6_240, 1),
        ({"size": "auto", "n": 3}, 3 * 6_240, 3),
        ({"size": "1024x1024", "quality": "low"}, 4_160, 1),
        ({"size": "1536x1024", "stream": True, "partial_images": 3}, 6_540, 1),
    ],
)
def test_images_are_bounded_by_token_or_by_piece(fields: dict[str, Any], tokens: int, pieces: int) -> None:
    body = {"model": "gpt-image-1.5", "prompt": "A cat", **fields}

    found = bounded("/v1/images/generations", body, UNKNOWN)

    assert found.ceilings[0].units == (Unit.INPUT_TOKENS,)
    assert found.ceilings[1] == Ceiling(tokens, (Unit.IMAGE_OUTPUT_TOKENS,))
    assert found.instead == (Ceiling(pieces, (Unit.IMAGES,)),)


def test_a_size_that_is_not_documented_is_bounded_by_piece_alone() -> None:
    body = {"model": "dall-e-2", "prompt": "A cat", "size": "256x256"}

    found = bounded("/v1/images/generations", body, UNKNOWN)

    assert (found.ceilings, found.instead) == ((), (Ceiling(1, (Unit.IMAGES,)),))


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"output_format": "svg"}, "output_format"), ({"frame_count": 4}, "frame_count"), ({"svg": {}}, "svg")],
)
def test_an_image_that_another_model_works_on_has_no_bound(fields: dict[str, Any], field: str) -> None:
    body = {"model": "gpt-image-1.5", "prompt": "A cat", **fields}
    if fields.get("svg") == {}:
        body["svg"] = {"effort": "high"}

    assert blamed("/v1/images/generations", body) == field


def test_an_edit_counts_each_image_that_goes_in() -> None:
    body = form(
        {"image[]": b"PNG", "mask": b"PNG"}, model="gpt-image-1.5", prompt="A cat", n="2", stream="true"
    )

    call = call_of("/v1/images/edits", body, content_type=FORM)
    found = bounded("/v1/images/edits", body, UNKNOWN, content_type=FORM)

    assert (call.model, call.stream, call.body) == ("gpt-image-1.5", True, body)
    assert found.ceilings[0].units == (Unit.INPUT_TOKENS, Unit.IMAGE_INPUT_TOKENS)
    assert found.ceilings[0].amount > 2 * 8_192
    assert found.ceilings[1].amount == 2 * 6_240


def test_image_routes_have_a_model_where_none_is_named() -> None:
    assert call_of("/v1/images/generations", {"prompt": "x"}).model == "dall-e-2"
    assert call_of("/v1/images/variations", form({"image": b"x"}), content_type=FORM).model == "dall-e-2"
    assert call_of("/v1/images/edits", form({"image": b"x"}), content_type=FORM).model == "gpt-image-1"
    assert call_of("/v1/images/edits", {"images": [{"file_id": "f"}], "prompt": "x"}).model == "gpt-image-1"


def test_a_recording_is_bounded_by_its_length_where_it_says_it() -> None:
    body = form({"file": wave(3)}, model="whisper-1")

    call = call_of("/v1/audio/transcriptions", body, content_type=FORM)

    assert bounded("/v1/audio/transcriptions", body, UNKNOWN, content_type=FORM).instead == (
        Ceiling(3_000, (Unit.AUDIO_SECONDS,)),
    )
    assert call.demand.known == ((Unit.AUDIO_SECONDS, 3_000),)


@pytest.mark.parametrize(
    "sound", [b"ID3" + bytes(997), wave(1, tag=17)[:1_000], wave(1)[:36].ljust(1_000, b"x")]
)
def test_a_recording_that_says_nothing_is_bounded_by_its_bytes(sound: bytes) -> None:
    body = form({"file": sound}, model="whisper-1")

    found = bounded("/v1/audio/translations", body, UNKNOWN, content_type=FORM)

    # Two kilobits a second.
    assert found.instead == (Ceiling(4_000, (Unit.AUDIO_SECONDS,)),)


def test_a_second_header_cannot_shorten_a_recording() -> None:
    sound = wave(3)
    twice = sound[:12] + wave(1, rate=80_000)[12:36] + sound[12:]

    body = form({"file": twice}, model="whisper-1")

    [length] = bounded("/v1/audio/transcriptions", body, UNKNOWN, content_type=FORM).instead
    assert length.amount > 100_000


def test_a_model_that_hears_tokens_is_bounded_by_its_window() -> None:
    body = form({"file": b"x"}, model="gpt-4o-transcribe")

    found = bounded("/v1/audio/transcriptions", body, content_type=FORM)

    assert found.ceilings == (
        Ceiling(200_000, (Unit.INPUT_TOKENS, Unit.AUDIO_INPUT_TOKENS)),
        Ceiling(8_000, (Unit.OUTPUT_TOKENS,)),
    )


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/images/edits", "/v1/videos"])
def test_a_form_that_can_be_read_in_two_ways_is_refused(path: str) -> None:
    twice = form(model="a")[:-8] + form(model="b")

    assert read_of(path, twice, content_type=FORM) == invalid_field("form")


def test_a_recording_needs_a_form_and_a_model() -> None:
    assert read_of("/v1/audio/transcriptions", b"{}") == invalid_field("form")
    no_model = form({"file": b"x"})
    assert read_of("/v1/audio/transcriptions", no_model, content_type=FORM) == invalid_field("model")


def test_speech_is_bounded_by_its_characters() -> None:
    body = {"model": "tts-1", "input": "Grüß 👋", "voice": "alloy"}

    found = bounded("/v1/audio/speech", body, UNKNOWN)

    assert (found.ceilings, found.instead) == ((), (Ceiling(6, (Unit.CHARACTERS,)),))
    assert call_of("/v1/audio/speech", {**body, "stream_format": "sse"}).stream


@pytest.mark.parametrize(
    ("fields", "seconds"), [({}, 4), ({"seconds": "12"}, 12), ({"seconds": 8, "size": "1280x720"}, 8)]
)
def test_a_video_is_bounded_by_its_seconds(fields: dict[str, Any], seconds: int) -> None:
    body = {"model": "sora-2-pro", "prompt": "A cat", **fields}

    assert bounded("/v1/videos", body, UNKNOWN).instead == (Ceiling(seconds * 1_000, (Unit.VIDEO_SECONDS,)),)
    as_form = form(None, **{name: str(value) for name, value in body.items()})
    assert call_of("/v1/videos", as_form, content_type=FORM).demand == call_of("/v1/videos", body).demand


def test_a_video_that_goes_on_from_another_and_a_batch_have_no_bound() -> None:
    assert blamed("/v1/videos", {"prompt": "x", "seconds": "a few"}) == "seconds"
    assert blamed("/v1/videos/video_1/remix", {"prompt": "x", "seconds": "4"}) == "seconds"
    assert blamed("/v1/videos/edits", {"prompt": "x", "video": {"id": "video_1"}}) == "seconds"
    assert blamed("/v1/batches", {"input_file_id": "file_1"}) == "input_file_id"


@pytest.mark.parametrize(
    "path",
    ["/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/audio/speech", "/v1/images/generations"],
)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_object_is_refused(path: str, body: bytes) -> None:
    assert read_of(path, body) == invalid_json()


@pytest.mark.parametrize(
    "path",
    ["/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/audio/speech", "/v1/images/generations"],
)
def test_a_model_must_be_a_name(path: str) -> None:
    assert read_of(path, b'{"model":7}') == invalid_field("model")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/moderations"),
        ("GET", "/v1/models"),
        ("POST", "/v1/files"),
        ("GET", "/v1/responses/resp_1"),
    ],
)
def test_a_free_request_is_forwarded_whatever_it_is(method: str, path: str) -> None:
    call = call_of(path, b"\xff not json", method=method)

    assert (call.body, call.billable, call.model) == (b"\xff not json", False, "")
