"""The head of a request as it is written."""

from __future__ import annotations

import pytest

from om_proxy.upstream.client import request_head


def test_a_head_is_written_line_by_line() -> None:
    written = request_head(
        "POST /v1/x?y=%20\udcff", [(b"Host", b"a"), (b"X-Empty", b""), (b"X-Odd", b"\xe9")]
    )

    assert written == b"POST /v1/x?y=%20\xff HTTP/1.1\r\nHost: a\r\nX-Empty: \r\nX-Odd: \xe9\r\n\r\n"


@pytest.mark.parametrize("inside", ["\r", "\n", "\r\n", "\0", "a\r\nX-Other: b"])
@pytest.mark.parametrize("where", ["target", "name", "value"])
def test_nothing_in_a_request_can_begin_another_line(where: str, inside: str) -> None:
    texts = {"target": "/", "name": "X", "value": "b"}
    texts[where] += inside
    with pytest.raises(ValueError, match="more than one line"):
        request_head(f"GET {texts['target']}", [(texts["name"].encode(), texts["value"].encode())])
