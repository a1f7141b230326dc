from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_proxy.metering.include_usage import HELD_MAX, UsageEventFilter, ask_for_usage
from tests.proxy.test_json_text import OBJECTS, written

USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
EXTRA = {"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": USAGE}
CONTENT = {"id": "c", "choices": [{"index": 0, "delta": {"content": 'say "usage":{} \\n\n'}}], "usage": None}


def asked(body: bytes) -> bytes | None:
    return ask_for_usage(body, orjson.loads(body))


@given(
    document=OBJECTS,
    options=st.none() | OBJECTS | st.just({"include_usage": False}) | st.just({"include_usage": None}),
    present=st.booleans(),
    seed=st.integers(0, 1_000),
)
def test_usage_is_asked_for_and_nothing_else_changes(
    document: dict[str, Any], options: dict[str, Any] | None, seed: int, *, present: bool
) -> None:
    source = random.Random(seed)
    document.pop("stream_options", None)
    members = [*document.items(), ("stream", True)] + ([("stream_options", options)] if present else [])
    source.shuffle(members)
    document = dict(members)
    body = written(document, source).encode()

    edited = asked(body)

    assert edited is not None
    changed = {**(options or {}), "include_usage": True} if present else {"include_usage": True}
    assert orjson.loads(edited) == {**document, "stream_options": changed}
    # One place was edited, and at most a false or a null of the client's is gone.
    front = shared_start(body, edited)
    back = shared_start(body[front:][::-1], edited[front:][::-1])
    assert front + back >= len(body) - len(b"false")


def shared_start(one: bytes, other: bytes) -> int:
    differing = (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
    return next(differing, min(len(one), len(other)))


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m"}',
        b'{"model":"m","stream":false}',
        b'{"model":"m","stream":1}',
        b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
        b'{"model":"m","stream":true,"stream_options":{"include_usage":"yes"}}',
        b'{"model":"m","stream":true,"stream_options":{"include_usage":0}}',
        b'{"model":"m","stream":true,"stream_options":{"include_usage":[]}}',
        b'{"model":"m","stream":true,"stream_options":[]}',
        b'{"model":"m","stream":true,"stream_options":"x"}',
    ],
)
def test_a_request_that_needs_no_edit_or_is_odd_is_left_alone(body: bytes) -> None:
    assert asked(body) is None


@pytest.mark.parametrize(
    ("body", "edited"),
    [
        (b'{ "stream" : true }', b'{"stream_options":{"include_usage":true}, "stream" : true }'),
        (
            b'{"stream":true,"stream_options":{ "x":1.0}}',
            b'{"stream":true,"stream_options":{"include_usage":true, "x":1.0}}',
        ),
        (
            b'{"stream":true,"stream_options": { } ,"n":1e3}',
            b'{"stream":true,"stream_options": {"include_usage":true } ,"n":1e3}',
        ),
        (
            b'{"stream_options":null,"stream":true}',
            b'{"stream_options":{"include_usage":true},"stream":true}',
        ),
        (
            b'{"stream":true,"stream_options":{"include_usage": false }}',
            b'{"stream":true,"stream_options":{"include_usage": true }}',
        ),
        (
            b'{"stream":true,"stream\\u005foptions":{},"x":{"stream_options":{"include_usage":true}}}',
            b'{"stream":true,"stream\\u005foptions":{"include_usage":true},"x":{"stream_options":{"include_usage":true}}}',
        ),
        (
            b'{"stream":true,"stream_options":{"include_usage":true},"stream_options":{}}',
            b'{"stream":true,"stream_options":{"include_usage":true},"stream_options":{"include_usage":true}}',
        ),
    ],
)
def test_the_edit_is_made_in_the_text(body: bytes, edited: bytes) -> None:
    assert asked(body) == edited


def event(data: object, newline: bytes = b"\n") -> bytes:
    text = data if isinstance(data, bytes) else orjson.dumps(data)
    return b"data: " + text + newline + newline


EVENTS = st.sampled_from(
    [
        CONTENT,
        EXTRA,
        {"choices": [], "usage": None, "prompt_filter_results": []},
        {"choices": [], "usage": USAGE, "error": {"code": 502, "message": "gone"}},
        {"choices": [{"delta": {}}], "usage": USAGE},
        b"[DONE]",
    ]
)


def is_extra(data: object) -> bool:
    return isinstance(data, Mapping) and data["choices"] == [] and bool(data["usage"]) and "error" not in data


@given(
    items=st.lists(
        st.tuples(EVENTS, st.sampled_from([b"", b"\n", b": keep-alive\n\n", b": glued\n"])), max_size=8
    ),
    newline=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    terminated=st.booleans(),
    data=st.data(),
)
def test_exactly_the_extra_event_is_removed_however_the_bytes_are_cut(
    items: list[tuple[object, bytes]], newline: bytes, data: st.DataObject, *, terminated: bool
) -> None:
    stream = expected = b""
    for item, before in items:
        prefix = before.replace(b"\n", newline)
        stream += prefix + event(item, newline)
        expected += prefix + (b"" if is_extra(item) else event(item, newline))
    if not terminated and items:
        stream = stream.removesuffix(newline)
        expected = expected if is_extra(items[-1][0]) else expected.removesuffix(newline)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    usage_filter = UsageEventFilter()

    passed = b"".join(
        usage_filter.feed(stream[start:end])
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
    )

    assert passed + usage_filter.finish() == expected
    assert usage_filter.removed == sum(is_extra(item) for item, _ in items)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_every_cut_in_two_removes_the_extra_event(newline: bytes) -> None:
    stream = b"".join(event(item, newline) for item in (CONTENT, EXTRA, b"[DONE]"))
    for cut in range(len(stream)):
        usage_filter = UsageEventFilter()
        passed = usage_filter.feed(stream[:cut]) + usage_filter.feed(stream[cut:]) + usage_filter.finish()
        assert passed == event(CONTENT, newline) + event(b"[DONE]", newline), cut


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_an_extra_event_on_several_lines_is_removed_too(newline: bytes) -> None:
    lines = [b'{"choices":[', b'],"usage":', orjson.dumps(USAGE), b"}"]
    extra = b"".join(b"data: " + line + newline for line in lines) + newline
    stream = event(CONTENT, newline) + extra + event(b"[DONE]", newline)
    for cut in range(len(stream)):
        usage_filter = UsageEventFilter()
        passed = usage_filter.feed(stream[:cut]) + usage_filter.feed(stream[cut:]) + usage_filter.finish()
        assert passed == event(CONTENT, newline) + event(b"[DONE]", newline), cut


def test_whole_events_are_never_held_back() -> None:
    usage_filter = UsageEventFilter()
    items: list[object] = [CONTENT, {"choices": [], "usage": None}, CONTENT, b"[DONE]"]
    for item in items:
        assert usage_filter.feed(event(item)) == event(item)


def test_content_is_passed_on_before_its_event_ends() -> None:
    usage_filter = UsageEventFilter()
    start = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"He'

    assert usage_filter.feed(start) == start
    assert usage_filter.feed(b"llo") == b"llo"
    assert usage_filter.feed(b'"}}],"usage":null}\n\ndata: {"choi') == b'"}}],"usage":null}\n\n'


def test_no_more_than_the_limit_is_held() -> None:
    usage_filter = UsageEventFilter()
    start = b'data: {"id":"' + b"x" * HELD_MAX

    assert usage_filter.feed(start) == start
    assert usage_filter.feed(b'"}\n\n') == b'"}\n\n'


@pytest.mark.parametrize("line", [b"event: x\n", b"\xef\xbb\xbf", b"<html>"])
def test_what_is_no_chat_stream_goes_straight_through(line: bytes) -> None:
    usage_filter = UsageEventFilter()

    assert usage_filter.feed(line) == line
    assert usage_filter.feed(b"more") == b"more"


@given(chunks=st.lists(st.binary(max_size=20)))
def test_bytes_of_any_other_kind_pass_unchanged(chunks: list[bytes]) -> None:
    """A provider that compresses all the same must not be damaged."""
    usage_filter = UsageEventFilter()

    assert b"".join(map(usage_filter.feed, chunks)) + usage_filter.finish() == b"".join(chunks)


def test_a_broken_off_event_is_passed_on_at_the_end() -> None:
    usage_filter = UsageEventFilter()
    tail = b'data: {"id":"c","choices":[],"usage":{"prompt_tok'

    assert usage_filter.feed(tail) == b""
    assert usage_filter.finish() == tail
