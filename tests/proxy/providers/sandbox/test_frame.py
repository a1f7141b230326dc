from __future__ import annotations

import orjson
import pytest

from om_proxy.providers.sandbox.frame import array_frames, data_frame, event_frame, gemini_frame

PAYLOAD = {"type": "greeting", "text": "grüß\n"}


def test_a_data_frame_is_one_line_of_compact_json() -> None:
    assert data_frame(PAYLOAD) == 'data: {"type":"greeting","text":"grüß\\n"}\n\n'.encode()


@pytest.mark.parametrize(
    ("padding", "json"),
    [
        (0, '{"type":"greeting","text":"grüß\\n"}'),
        (2, '{"type":"greeting","text":"grüß\\n"}  '),
        (3, '{"type":"greeting","text":"grüß\\n"   }'),
    ],
)
def test_an_event_frame_is_padded_outside_its_strings(padding: int, json: str) -> None:
    assert event_frame(PAYLOAD, padding) == f"event: greeting\ndata: {json}\n\n".encode()


def test_a_gemini_frame_has_google_spacing() -> None:
    assert (
        gemini_frame({"a": [1, {"b": "ü"}], "c": 2}) == 'data: {"a": [1,{"b": "ü"}],"c": 2}\r\n\r\n'.encode()
    )


@pytest.mark.parametrize("count", [0, 1, 3])
def test_array_frames_are_one_json_array(count: int) -> None:
    payloads = [{"n": number} for number in range(count)]

    frames = array_frames(payloads)

    assert orjson.loads(b"".join(frames) if count else b"[]") == payloads
    assert len(frames) == count + 1
