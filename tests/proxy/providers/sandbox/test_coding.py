from __future__ import annotations

import gzip
import shutil
import subprocess

import pytest

from om_proxy.providers.sandbox.coding import encode

PARTS = (b"data: 1\n\n", b"x" * 70_000, b"", b"end")
_NODE = "process.stdout.write(require('zlib').brotliDecompressSync(require('fs').readFileSync(0)))"


def test_gzip_can_be_read() -> None:
    assert gzip.decompress(b"".join(encode(PARTS, "gzip"))) == b"".join(PARTS)


@pytest.mark.parametrize("parts", [PARTS, (), (b"",)])
def test_brotli_can_be_read(parts: tuple[bytes, ...]) -> None:
    node = shutil.which("node")
    assert node is not None

    read = subprocess.run(
        [node, "-e", _NODE], input=b"".join(encode(parts, "br")), capture_output=True, check=True
    )

    assert read.stdout == b"".join(parts)


def test_zstandard_is_raw_blocks_between_a_frame_header_and_an_empty_last_block() -> None:
    coded = encode((b"ab",), "zstd")

    assert coded == [b"\x28\xb5\x2f\xfd\x00\x58", b"\x10\x00\x00ab", b"\x01\x00\x00"]
    assert sum(len(piece) for piece in encode(PARTS, "zstd")) == sum(map(len, PARTS)) + 6 + 3 + 4 * 3


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_each_part_is_a_piece_of_its_own(coding: str) -> None:
    pieces = encode((b"first", b"second"), coding)

    assert b"first" in b"".join(pieces[:2]) or coding == "gzip"
    assert len(pieces) >= 3
