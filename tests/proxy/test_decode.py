from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from om_proxy.decode import DecodeFault, Decoder

TEXT = b"data: {}\n\n" * 30_000 + bytes(range(256)) * 20


def raw_deflate(data: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return squeeze.compress(data) + squeeze.flush()


def decoded(decoder: Decoder, data: bytes, size: int) -> bytes:
    pieces = (data[at : at + size] for at in range(0, len(data), size))
    return b"".join(plain for piece in pieces for plain in decoder.decode(piece))


@pytest.mark.parametrize(
    ("encoding", "coded"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT)),
        ("X-GZIP ", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:999]) + gzip.compress(TEXT[999:])),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_a_coding_is_read_in_any_pieces(encoding: str, coded: bytes, size: int) -> None:
    decoder = Decoder(encoding)

    assert decoded(decoder, coded, size) == TEXT
    assert decoder.fault is None


def test_what_was_flushed_is_read_at_once() -> None:
    """A coded stream must not be metered only when it ends."""
    squeeze = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    decoder = Decoder("gzip")
    for number in range(20):
        event = b"data: %d\n\n" % number
        assert decoded(decoder, squeeze.compress(event) + squeeze.flush(zlib.Z_SYNC_FLUSH), 1) == event


@pytest.mark.parametrize("size", range(65_530, 65_560))
def test_what_zlib_holds_after_its_last_byte_is_read(size: int) -> None:
    assert decoded(Decoder("deflate"), raw_deflate(bytes(size)), 1_000_000) == bytes(size)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "compress", "nonsense"])
def test_a_coding_without_a_library_is_unreadable(encoding: str) -> None:
    decoder = Decoder(encoding)

    assert list(decoder.decode(b"anything")) == []
    assert decoder.fault is DecodeFault.UNREADABLE


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_wrong_label_is_unreadable(encoding: str) -> None:
    decoder = Decoder(encoding)

    assert list(decoder.decode(b'{"plain": "text"}')) == []
    assert decoder.fault is DecodeFault.UNREADABLE


def test_a_bomb_is_decoded_up_to_the_limit_and_never_held() -> None:
    bomb = gzip.compress(bytes(100 << 20))
    decoder = Decoder("gzip", limit=4 << 20)
    tracemalloc.start()
    size = sum(len(piece) for piece in decoder.decode(bomb))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert size <= 4 << 20
    assert decoder.fault is DecodeFault.OVER_LIMIT
    assert peak < 2 << 20
    assert list(decoder.decode(bomb)) == []


def test_bytes_after_the_end_are_not_collected() -> None:
    decoder = Decoder("deflate")
    assert decoded(decoder, zlib.compress(b"x"), 1) == b"x"
    tracemalloc.start()
    for _ in range(100):
        assert list(decoder.decode(bytes(65_536))) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 1 << 20
