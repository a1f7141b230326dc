"""What is passed over at a glance is whole events, and never one that has to be read."""

from __future__ import annotations

import pytest

from om_proxy.metering.glance import Glance
from tests.proxy.exchange import random_pieces

_TEXT = b'data: {"text":"a"}\n\n'
_USAGE = b'data: {"usage":{}}\n\n'
_BEGUN = b": hello\n\n"


def read(pieces: list[bytes]) -> tuple[bytes, list[bytes]]:
    """Show pieces; give what has to be split and what was passed over."""
    passed_over: list[bytes] = []

    def nothing_in(events: bytes) -> bool:
        if b"usage" in events:
            return False
        passed_over.append(events)
        return True

    glance = Glance(nothing_in)
    return b"".join(glance.feed(piece) for piece in pieces), passed_over


def test_events_of_text_are_passed_over_together() -> None:
    assert read([_BEGUN, _TEXT * 3, _TEXT]) == (_BEGUN, [_TEXT * 3, _TEXT])


def test_events_around_a_cut_are_read_and_those_between_are_not() -> None:
    assert read([_BEGUN + _TEXT[:5], _TEXT[5:] + _TEXT * 2 + _TEXT[:7], _TEXT[7:]]) == (
        _BEGUN + _TEXT + _TEXT,
        [_TEXT * 2],
    )


def test_what_says_something_is_read_with_what_came_with_it() -> None:
    assert read([_BEGUN, _TEXT + _USAGE + _TEXT]) == (_BEGUN + _TEXT + _USAGE + _TEXT, [])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_however_it_is_cut_only_whole_events_without_usage_are_missing(seed: int, newline: bytes) -> None:
    stream = (_BEGUN + (_TEXT * 3 + _USAGE) * 20).replace(b"\n", newline)
    to_split, passed_over = read(list(random_pieces(stream, seed)))
    text, usage = (event.replace(b"\n", newline) for event in (_TEXT, _USAGE))
    assert to_split.count(usage) == 20
    assert all(not events.replace(text, b"") for events in passed_over)
    assert len(to_split) + sum(map(len, passed_over)) == len(stream)
