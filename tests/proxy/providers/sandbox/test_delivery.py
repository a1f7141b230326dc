from __future__ import annotations

import zlib

import pytest

from om_proxy.providers.sandbox import delivery
from tests.proxy.providers.sandbox.asking import STREAM, chat, events, generate, message


def test_frames_are_pieces_unless_told() -> None:
    reply = chat(stream=True)

    assert tuple(delivery.pieces(reply)) == reply.frames
    assert delivery.headers(reply) == reply.headers


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_pieces_can_have_any_size(size: int) -> None:
    reply = chat(f"chunk={size}; unicode=1", stream=True)

    parts = delivery.pieces(reply)

    assert b"".join(parts) == reply.body
    assert all(len(part) == size for part in parts[:-1])


def test_a_compressed_stream_can_be_read_frame_by_frame() -> None:
    reply = message("gzip=1", stream=True)

    inflater = zlib.decompressobj(wbits=31)
    *parts, end = [inflater.decompress(part) for part in delivery.pieces(reply)]

    assert tuple(parts) == reply.frames
    assert (end, inflater.eof) == (b"", True)
    assert ("content-encoding", "gzip") in delivery.headers(reply)


def test_compressed_bytes_can_be_cut_into_pieces_too() -> None:
    reply = message("gzip=1; chunk=10")

    parts = delivery.pieces(reply)

    assert {len(part) for part in parts[:-1]} == {10}
    assert zlib.decompress(b"".join(parts), wbits=31) == reply.body


@pytest.mark.parametrize("reply", [chat("crlf=1", stream=True), generate("crlf=1", path=STREAM)])
def test_line_ends_can_be_crlf_and_never_double(reply: object) -> None:
    body = b"".join(delivery.pieces(reply))  # type: ignore[arg-type]  # Parametrised values are objects to mypy.

    assert body.count(b"\r\n") == body.count(b"\n") == body.count(b"\r")


def test_a_plain_answer_keeps_its_bytes_under_crlf() -> None:
    reply = generate("crlf=1")

    assert b"".join(delivery.pieces(reply)) == reply.body


@pytest.mark.parametrize("sim", ["chunk=1", "ttft_ms=1", "interval_ms=1", "abort_after=0", "hang_after=0"])
def test_only_an_undisturbed_plain_answer_goes_out_whole(sim: str) -> None:
    assert delivery.whole(chat())
    assert delivery.whole(chat("gzip=1; delay_ms=1"))
    assert not delivery.whole(chat(sim))
    assert not delivery.whole(chat(stream=True))
    assert events(chat(sim, stream=True))
