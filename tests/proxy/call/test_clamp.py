from __future__ import annotations

import pytest

from om_proxy.call.call import Demand
from om_proxy.call.clamp import affordable_cap, with_cap


def demand(*, choices: int = 1, predicted_bytes: int = 0) -> Demand:
    return Demand(10, (), (), choices=choices, predicted_bytes=predicted_bytes)


@pytest.mark.parametrize(
    ("tokens", "choices", "predicted", "cap"),
    [
        (40, 1, 0, 40),
        (40, 3, 0, 13),
        (40, 1, 15, 25),
        (40, 2, 15, 12),
        (1, 1, 0, 1),
        (1, 2, 0, None),
        (9, 1, 9, None),
    ],
)
def test_every_choice_may_use_the_cap_up(tokens: int, choices: int, predicted: int, cap: int | None) -> None:
    assert affordable_cap(demand(choices=choices, predicted_bytes=predicted), tokens) == cap


@pytest.mark.parametrize(
    ("field", "body", "lowered"),
    [
        ("max_tokens", b'{"a":1, "max_tokens" : 900}', b'{"a":1, "max_tokens" : 40}'),
        ("max_tokens", b'{"a":1}', b'{"max_tokens":40,"a":1}'),
        ("max_tokens", b"{}", b'{"max_tokens":40}'),
        ("max_tokens", b'{"max_tokens":null}', b'{"max_tokens":40}'),
        ("max_completion_tokens", b'{"max_tokens":41}', b'{"max_tokens":40}'),
        (
            "max_completion_tokens",
            b'{"max_tokens":41,"max_completion_tokens":39}',
            b'{"max_tokens":40,"max_completion_tokens":39}',
        ),
        (
            "max_completion_tokens",
            b'{"max_completion_tokens":50,"x":{"max_tokens":50},"max_tokens":41}',
            b'{"max_completion_tokens":40,"x":{"max_tokens":50},"max_tokens":40}',
        ),
        ("max_completion_tokens", b'{"a":1}', b'{"max_completion_tokens":40,"a":1}'),
        (
            "generationConfig.maxOutputTokens",
            b'{"contents":[], "generationConfig":{"maxOutputTokens":900}}',
            b'{"contents":[], "generationConfig":{"maxOutputTokens":40}}',
        ),
        (
            "generationConfig.maxOutputTokens",
            b'{"generation_config":{"max_output_tokens":"900"}}',
            b'{"generation_config":{"max_output_tokens":40}}',
        ),
        (
            "generationConfig.maxOutputTokens",
            b'{"generationConfig":{"topK":1}}',
            b'{"generationConfig":{"maxOutputTokens":40,"topK":1}}',
        ),
        (
            "generationConfig.maxOutputTokens",
            b'{"contents":[]}',
            b'{"generationConfig":{"maxOutputTokens":40},"contents":[]}',
        ),
    ],
)
def test_the_cap_is_lowered_where_it_stands(field: str, body: bytes, lowered: bytes) -> None:
    assert with_cap(body, field, 40) == lowered


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("max_tokens", b'{"max_tokens":40}'),
        ("max_tokens", b'{"max_tokens":7}'),
        ("max_tokens", b'{"max_tokens":true}'),
        ("max_tokens", b'{"max_tokens":"x"}'),
        ("max_tokens", b'{"max_tokens":"' + b"9" * 5_000 + b'"}'),
        ("generationConfig.maxOutputTokens", b'{"generationConfig":[]}'),
        ("", b'{"input":"x"}'),
        ("max_tokens", b"--boundary"),
    ],
)
def test_what_is_low_enough_or_no_cap_stays(field: str, body: bytes) -> None:
    assert with_cap(body, field, 40) is None
