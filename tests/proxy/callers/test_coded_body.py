"""A compressed request is understood by a plain copy of its body, and sent as it came."""

from __future__ import annotations

import gzip
import zlib
from functools import partial

import orjson
import pytest
from multidict import CIMultiDict

from om_proxy.call.call import Call
from om_proxy.callers.coded_body import read_coded, request_coding
from om_proxy.refusals.problem import body_too_large, encoded_body, invalid_json
from om_proxy.refusals.refusal import Problem
from tests.proxy.exchange import CHAT_PATH, MESSAGES_PATH, read_of

MESSAGE = orjson.dumps({"model": "claude-sonnet-4-5", "max_tokens": 5, "messages": []})
CHAT = {"model": "gpt-4o", "messages": []}
LIMIT = 1_000


def understood(path: str, body: bytes) -> tuple[Call, str] | Problem:
    answer = read_of(path, body)
    return answer if isinstance(answer, Problem) else (answer, "who")


def read(path: str, body: bytes, coding: str = "gzip") -> tuple[Call, str] | Problem:
    return read_coded(body, coding, bytes_max=LIMIT, understand=partial(understood, path))


@pytest.mark.parametrize(
    ("coding", "coded"), [("gzip", gzip.compress(MESSAGE, mtime=0)), ("deflate", zlib.compress(MESSAGE))]
)
def test_the_plain_copy_is_understood_and_the_coded_body_is_sent(coding: str, coded: bytes) -> None:
    answer = read(MESSAGES_PATH, coded, coding)

    assert not isinstance(answer, Problem)
    call, who = answer
    assert (call.model, call.demand.output_max, who) == ("claude-sonnet-4-5", 5, "who")
    assert call.demand.text_bytes == len(MESSAGE)
    assert call.body is coded


def test_a_body_that_would_be_edited_is_refused() -> None:
    plain = read(CHAT_PATH, gzip.compress(orjson.dumps(CHAT)))

    assert not isinstance(plain, Problem)
    assert read(CHAT_PATH, gzip.compress(orjson.dumps({**CHAT, "stream": True}))) == encoded_body()


def test_a_body_that_is_too_large_once_it_is_decoded_is_refused() -> None:
    assert read(MESSAGES_PATH, gzip.compress(b" " * 100_000_000)) == body_too_large(LIMIT)


def test_a_body_that_is_not_in_its_coding_is_refused() -> None:
    assert read(MESSAGES_PATH, MESSAGE) == encoded_body()
    assert read(MESSAGES_PATH, gzip.compress(MESSAGE)[:-20]) == invalid_json()
    assert read(MESSAGES_PATH, gzip.compress(b"{")) == invalid_json()


@pytest.mark.parametrize(
    ("lines", "coding"),
    [
        ([], ""),
        (["identity"], ""),
        (["GZIP"], "gzip"),
        (["identity, gzip"], "gzip"),
        (["gzip, gzip"], None),
        (["gzip", "deflate"], None),
        (["compress"], None),
    ],
)
def test_a_body_has_at_most_one_coding_that_can_be_read(lines: list[str], coding: str | None) -> None:
    assert request_coding(CIMultiDict([("Content-Encoding", line) for line in lines])) == coding
