"""What a route reports can be priced by the catalogue, and costs no more than what was set aside for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from om_proxy.call.bound import Bound, ModelLimits, bound
from om_proxy.funding.rates import ModelRates
from om_server.rating.burn_table import default_burn_table
from om_server.rating.catalogue import load_catalogue
from om_server.rating.rate_card import CardSpan, model_rates
from tests.proxy.exchange import EVENTS, JSON, call_of, meter_in_pieces

BOOK = load_catalogue().book()
NOW = int(datetime(2026, 11, 21, tzinfo=UTC).timestamp() * 1_000_000)
FORM = "multipart/form-data; boundary=b1"
RECORDING = (
    b'--b1\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n'
    b'--b1\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n'
    + b"x" * 20_000
    + b"\r\n--b1--\r\n"
)
TOKENS = b'{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}'
RESPONSE = (
    b'{"id":"r","object":"response","status":"completed","model":"gpt-5","output":[],"usage":'
    b'{"input_tokens":9,"output_tokens":4,"total_tokens":13},"tool_usage":{"web_search":{"num_requests":1}}}'
)
IMAGE = (
    b'{"data":[{"b64_json":"eA=="}],"usage":{"input_tokens":9,"input_tokens_details":{"text_tokens":9,'
    b'"image_tokens":0},"output_tokens":4160,"total_tokens":4169}}'
)
HEARD = (
    b'{"text":"x","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"audio_tokens":14,'
    b'"text_tokens":0},"output_tokens":45,"total_tokens":59}}'
)

#: The path, the model, the rest of the request, and the answer.
EXCHANGES: list[tuple[str, str, Any, bytes]] = [
    ("/v1/chat/completions", "gpt-4o", {"messages": []}, b'{"model":"gpt-4o","usage":' + TOKENS + b"}"),
    ("/v1/completions", "gpt-3.5-turbo-instruct", {"prompt": "x"}, b'{"usage":' + TOKENS + b"}"),
    (
        "/v1/responses",
        "gpt-5",
        {"input": "x", "max_tool_calls": 2, "tools": [{"type": "web_search"}]},
        RESPONSE,
    ),
    (
        "/v1/embeddings",
        "text-embedding-3-small",
        {"input": "x"},
        b'{"usage":{"prompt_tokens":2,"total_tokens":2}}',
    ),
    ("/v1/images/generations", "gpt-image-1.5", {"prompt": "x"}, IMAGE),
    ("/v1/images/generations", "dall-e-3", {"prompt": "x", "quality": "hd"}, b'{"data":[{"url":"x"}]}'),
    ("/v1/audio/transcriptions", "gpt-4o-transcribe", RECORDING, HEARD),
    ("/v1/audio/transcriptions", "whisper-1", RECORDING, b'{"usage":{"type":"duration","seconds":5}}'),
    ("/v1/audio/speech", "tts-1", {"input": "Hello", "voice": "alloy"}, b""),
]


def rates(model: str) -> ModelRates:
    """Read the rate card as an edge does."""
    span = CardSpan(NOW, NOW + 60_000_000, (default_burn_table(),))
    card = model_rates(BOOK, span, provider="openai", model=model)
    limits = ModelLimits(card.context_window, card.output_tokens_max)
    return ModelRates(card.priced, card.rates, card.request_nanos, card.minimum_nanos, limits)


@pytest.mark.parametrize(("path", "model", "request_", "answer"), EXCHANGES)
def test_a_call_is_priced_before_and_after_and_keeps_within_its_bound(
    path: str, model: str, request_: Any, answer: bytes
) -> None:
    body = request_ % model.encode() if isinstance(request_, bytes) else {"model": model, **request_}
    call = call_of(path, body, content_type=FORM if isinstance(body, bytes) else JSON)
    card = rates(model)

    limit = bound(call, card.limits)
    metered = meter_in_pieces(call, [answer], content_type="audio/mpeg" if path.endswith("speech") else JSON)

    assert isinstance(limit, Bound)
    most = card.bound_nanos(limit)
    charges = [card.line_nanos(line) for line in metered.lines]
    assert metered.measured
    assert most is not None
    assert all(charge is not None and charge > 0 for charge in charges), charges
    assert sum(charge for charge in charges if charge is not None) <= most


def test_a_video_is_priced_before_and_after_by_its_size() -> None:
    call = call_of("/v1/videos", {"model": "sora-2-pro", "prompt": "x", "seconds": "8", "size": "1792x1024"})
    poll = call_of("/v1/videos/video_1", b"", method="GET")
    done = b'{"id":"video_1","status":"completed","model":"sora-2-pro","seconds":"8","size":"1792x1024"}'
    card = rates("sora-2-pro")

    limit = bound(call, card.limits)
    [job] = meter_in_pieces(poll, [done], content_type=JSON).ended

    assert isinstance(limit, Bound)
    most, charge = card.bound_nanos(limit), card.line_nanos(job.lines[0])
    assert most is not None
    assert charge is not None
    assert 0 < charge <= most


def test_a_stream_of_images_is_priced_too() -> None:
    call = call_of("/v1/images/generations", {"model": "gpt-image-1.5", "prompt": "x", "stream": True})
    event = b'data: {"type":"image_generation.completed","usage":' + IMAGE.partition(b'"usage":')[2] + b"\n\n"

    metered = meter_in_pieces(call, [event], content_type=EVENTS)

    assert rates("gpt-image-1.5").line_nanos(metered.lines[0])
