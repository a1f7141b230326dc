from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_proxy.metering.sse import SseParser

NEWLINES = st.sampled_from([b"\n", b"\r\n", b"\r"])
# Everything that a line may hold: no line ends.
TEXTS = st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b""))


def parse(*chunks: bytes, limit: int = 1_000) -> list[bytes]:
    parser = SseParser(limit)
    found = [data for chunk in chunks for data in parser.feed(chunk)]
    return found + parser.finish()


@given(
    payloads=st.lists(st.lists(TEXTS, min_size=1, max_size=3), max_size=6), newline=NEWLINES, data=st.data()
)
def test_every_cut_gives_the_same_events(
    payloads: list[list[bytes]], newline: bytes, data: st.DataObject
) -> None:
    stream = b"".join(
        b"event: x" + newline + b"".join(b"data: " + line + newline for line in lines) + newline
        for lines in payloads
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert parse(*chunks) == [b"\n".join(lines) for lines in payloads]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_single_bytes_are_enough(newline: bytes) -> None:
    stream = newline.join(
        [b"\xef\xbb\xbfdata: a", b": comment", b"id: 7", b"data:b", b"", b"", b"data", b"", b"data: c"]
    )

    assert parse(*(stream[at : at + 1] for at in range(len(stream)))) == [b"a\nb", b"", b"c"]


def test_only_one_space_after_the_colon_is_taken() -> None:
    assert parse(b"data:  two\n\n") == [b" two"]


def test_a_field_that_only_starts_like_data_is_another_field() -> None:
    assert parse(b"database: x\ndata: y\n\n") == [b"y"]


def test_an_event_without_data_is_none() -> None:
    assert parse(b"event: ping\n\n: comment\n\n") == []


def test_line_ends_of_text_are_none_of_bytes() -> None:
    assert parse("data: a\u2028b\x0bc\x85\n\n".encode()) == ["a\u2028b\x0bc\x85".encode()]


@pytest.mark.parametrize(
    "giant",
    [b"data: " + b"x" * 101, b"data: " + b"x" * 60 + b"\ndata: " + b"x" * 60, b": " + b"x" * 200, b"x" * 101],
)
@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_a_giant_event_is_given_up_and_the_next_one_read(giant: bytes, size: int) -> None:
    stream = b"data: before\n\n" + giant + b"\n\ndata: after\n\n"
    parser = SseParser(100)
    found = [item for at in range(0, len(stream), size) for item in parser.feed(stream[at : at + size])]

    assert found == [b"before", b"after"]
    assert parser.given_up == 1


def test_a_giant_line_takes_constant_memory() -> None:
    parser = SseParser(1 << 20)
    chunk = b"x" * 65_536
    tracemalloc.start()
    parser.feed(b"data: ")
    for _ in range(1_024):
        parser.feed(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 4 << 20
    assert parser.feed(b"\n\ndata: after\n\n") == [b"after"]
    assert parser.given_up == 1
