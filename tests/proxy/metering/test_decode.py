from __future__ import annotations

import gzip
import tracemalloc
import zlib

import brotli
import pytest
import zstandard

from om_proxy.metering.decode import DecodeFault, Decoder

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
        ("gzip", gzip.compress(TEXT, mtime=0)),
        ("X-GZIP ", gzip.compress(TEXT, mtime=0)),
        ("gzip", gzip.compress(TEXT[:999], mtime=0) + gzip.compress(TEXT[999:], mtime=0)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("br", brotli.compress(TEXT)),
        ("zstd", zstandard.compress(TEXT)),
        ("ZSTD", zstandard.compress(TEXT[:999]) + zstandard.compress(TEXT[999:])),
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


@pytest.mark.parametrize("encoding", ["gzip, br", "compress", "nonsense"])
def test_a_coding_without_a_library_is_unreadable(encoding: str) -> None:
    decoder = Decoder(encoding)

    assert list(decoder.decode(b"anything")) == []
    assert decoder.fault is DecodeFault.UNREADABLE


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
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


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("br", brotli.compress(bytes(30_000_000))),
        ("zstd", zstandard.compress(bytes(30_000_000))),
        ("gzip", gzip.compress(bytes(30_000_000), 1, mtime=0)),
    ],
)
def test_a_bomb_of_any_coding_stands_in_memory_in_small_pieces(encoding: str, packed: bytes) -> None:
    decoder = Decoder(encoding, limit=10_000_000)
    tracemalloc.start()
    size = sum(len(piece) for piece in decoder.decode(packed))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert decoder.fault is DecodeFault.OVER_LIMIT
    assert 9_000_000 < size <= 10_000_000
    assert peak < 9_000_000


def test_each_event_of_a_brotli_or_zstandard_stream_is_read_as_it_comes() -> None:
    squeeze, packer = brotli.Compressor(), zstandard.ZstdCompressor().compressobj()
    readers = Decoder("br"), Decoder("zstd")
    for number in range(20):
        event = b"data: %d\n\n" % number
        packed = squeeze.process(event) + squeeze.flush()
        framed = packer.compress(event) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        assert [decoded(reader, data, 1) for reader, data in zip(readers, (packed, framed), strict=True)] == [
            event,
            event,
        ]


def test_a_window_that_is_too_large_for_http_is_not_made() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    wide = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    decoder = Decoder("zstd")

    assert decoded(decoder, wide.compress(TEXT) + wide.flush(), 1_000) == b""
    assert decoder.fault is DecodeFault.UNREADABLE


def test_what_follows_the_end_is_no_part_of_the_text() -> None:
    assert decoded(Decoder("deflate"), zlib.compress(TEXT) + b"anything", 1_000) == TEXT
    # Brotli's library refuses it, together with the last piece.
    decoder = Decoder("br")
    assert TEXT.startswith(decoded(decoder, brotli.compress(TEXT) + b"anything", 1_000))
    assert decoder.fault is DecodeFault.UNREADABLE
