"""Answers whose size is that of pixels and vectors: what counts in them is read however large they are."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from om_proxy.metering.framing import BODY_MAX
from tests.proxy.exchange import JSON, amounts, call_of, meter_in_pieces

PIXELS = "A" * (BODY_MAX // 3)
VECTOR = [0.123456] * (BODY_MAX // 24)


@pytest.mark.parametrize(
    ("path", "body", "answer", "expected"),
    [
        (
            "/v1beta/models/imagen-4.0-generate-001:predict",
            {"instances": [{}]},
            {"predictions": [{"bytesBase64Encoded": PIXELS}] * 4},
            {"images": 4},
        ),
        (
            "/v1beta/models/gemini-embedding-2:batchEmbedContents",
            {"requests": []},
            {"embeddings": [{"values": VECTOR}] * 4, "usageMetadata": {"promptTokenCount": 7}},
            {"input_tokens": 7},
        ),
    ],
)
def test_what_counts_is_read(path: str, body: object, answer: Any, expected: dict[str, int]) -> None:
    whole = orjson.dumps(answer)
    assert len(whole) > BODY_MAX
    pieces = (whole[at : at + 65_536] for at in range(0, len(whole), 65_536))

    reading = meter_in_pieces(call_of(path, body), pieces, content_type=JSON)

    assert amounts(reading.lines[0]) == expected
    assert reading.flags == frozenset()
