"""A stream without an output cap: it begins on a slice, grows in time, and ends as its provider ends one."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from om.edge.v1 import edge_service_pb2 as edge_pb
from om.type.v1 import error_reason_pb2, event_pb2
from om_proxy.admission.outcome import Intent
from om_proxy.admission.stretch import Stretch
from om_proxy.call.bound import SLICE_TOKENS, ModelLimits, sliced
from om_proxy.edge.call_book import CallBook
from om_proxy.journal.journal import JournalFull
from om_proxy.metering.reading import Metered
from om_proxy.refusals import problem
from tests.proxy.bank import CALL, KNOWN, WALLET, Bank, Till
from tests.proxy.exchange import call_of
from tests.proxy.exchange import events as written
from tests.proxy.fake_servicer import AWAY
from tests.proxy.intents import WHO
from tests.proxy.one_edge import HEADERS, Edge, edge
from tests.proxy.raw_http import Exchange, head, request_bytes

_MOST = 20_000
_CHAT = (
    b'{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},'
    b'"messages":[{"role":"user","content":"Hi"}]}'
)
_TEXT = "x" * 1_000
_SHORT = edge_pb.Refusal(reason=error_reason_pb2.ERROR_REASON_INSUFFICIENT_FUNDS)

PROVIDERS: dict[str, tuple[str, bytes, bytes]] = {
    "openai chat": (
        "/v1/chat/completions",
        _CHAT,
        written([{"model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": _TEXT}}]}]),
    ),
    "openai responses": (
        "/v1/responses",
        b'{"model":"gpt-4o","input":"Hi","stream":true}',
        written([{"type": "response.output_text.delta", "sequence_number": 0, "delta": _TEXT}]),
    ),
    "anthropic": (
        "/v1/messages",
        b'{"model":"claude-sonnet-4-5","stream":true,"messages":[{"role":"user","content":"Hi"}]}',
        written(
            [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": _TEXT}}]
        ),
    ),
    "gemini": (
        "/v1beta/models/gemini-2.0-flash:streamGenerateContent?alt=sse",
        b'{"contents":[{"parts":[{"text":"Hi"}]}]}',
        written([{"candidates": [{"content": {"parts": [{"text": _TEXT}]}}]}], b"\r\n"),
    ),
}
ENDS: dict[str, Callable[[Any], str]] = {
    "openai chat": lambda data: data[b"data"]["error"]["code"],
    "openai responses": lambda data: data[b"data"]["code"],
    "anthropic": lambda data: data[b"data"]["error"]["type"],
    "gemini": lambda data: {402: "insufficient_credits"}[data[b"data"]["error"]["code"]],
}


def rich(proxy: Edge, most: int = _MOST) -> None:
    for rate in proxy.server.rates:
        rate.output_tokens_max = most


def asked(path: str, body: bytes) -> bytes:
    return request_bytes(body, *HEADERS, "x-api-key: k", "x-goog-api-key: k", path=path)


def outputs(proxy: Edge) -> list[int]:
    """What each question set aside for output."""
    return [
        item.amount
        for ask in proxy.server.admit_requests
        for item in ask.bound
        if item.unit == "output_tokens"
    ]


def last_event(body: bytes) -> dict[bytes, object]:
    lines = body.rstrip().replace(b"\r\n", b"\n").rpartition(b"\n\n")[2].split(b"\n")
    fields = dict(line.split(b": ", 1) for line in lines)
    return {**fields, b"data": orjson.loads(fields[b"data"])}


async def the_event(proxy: Edge) -> event_pb2.UsageEvent:
    (event,) = await proxy.server.reported()
    kept = sum(part.retained_nanos for part in event.funding)
    assert kept <= sum(part.bound_nanos for part in event.funding)
    return event


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_stream_begins_on_a_slice_and_is_extended_before_its_bytes_pass(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, body, frame = PROVIDERS[name]
    paid: list[int] = []
    extended = CallBook.extended

    async def noted(self: CallBook, intent: Intent, metered: Metered) -> None:
        await extended(self, intent, metered)
        paid.append(intent.grant.bound_nanos)

    monkeypatch.setattr(CallBook, "extended", noted)
    may_go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream()
        for _ in range(12):
            await exchange.chunk(frame)
            await may_go_on.wait()
            may_go_on.clear()
        await exchange.chunk(b"")

    async with edge(script) as proxy, proxy.caller() as caller:
        rich(proxy)
        await caller.send(asked(path, body))
        await caller.read_head()
        got = b""
        for count in range(1, 13):
            while len(got) < len(frame) * count:
                got += await caller.read_chunk()
            # A nano is a token here, and every byte that passed was paid for before.
            begun = sum(part for part in outputs(proxy)[:1])
            assert (paid[-1] if paid else begun) >= count * len(_TEXT)
            may_go_on.set()
        assert await caller.read_chunk() == b""
        event = await the_event(proxy)

    assert got == frame * 12
    assert outputs(proxy)[0] == SLICE_TOKENS
    assert len(paid) >= 2
    assert sum(part.bound_nanos for part in event.funding) == paid[-1] <= _MOST + len(body) + 200


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_stream_that_cannot_be_extended_ends_in_the_providers_own_form(name: str) -> None:
    path, body, frame = PROVIDERS[name]
    sent = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.stream(frame)
        await sent.wait()
        for _ in range(12):
            # Cut in the middle of an event, where nothing may be added.
            await exchange.chunk(frame[:500])
            await exchange.chunk(frame[500:])
        await exchange.gone()

    async with edge(script) as proxy, proxy.caller() as caller:
        rich(proxy)
        await caller.send(asked(path, body))
        await proxy.server.until(lambda: len(proxy.server.admit_requests) == 1)
        await caller.read_head()
        proxy.server.refusal = _SHORT
        sent.set()
        got = b""
        while chunk := await caller.read_chunk():
            got += chunk
        assert await caller.rest() == b""
        event = await the_event(proxy)

    told = last_event(got)
    whole = got[: len(got) // len(frame) * len(frame)]
    passed = whole.count(_TEXT.encode())
    assert got.startswith(frame * passed)
    assert ENDS[name](told) == "insufficient_credits"
    assert (b"event" in told) is (name in {"openai responses", "anthropic"})
    # What is not shown is one piece at most.
    assert SLICE_TOKENS - 2_000 <= passed * len(_TEXT) <= SLICE_TOKENS
    assert event.outcome == event_pb2.OUTCOME_ESTIMATED
    assert event.funding[0].retained_nanos > passed * len(_TEXT) // 4


async def test_what_nobody_was_shown_is_not_charged_where_left_calls_are_read_to_their_end_either() -> None:
    path, body, frame = PROVIDERS["openai chat"]
    charged = {}
    for leaving in ("cancel", "drain"):
        sent = asyncio.Event()

        async def script(exchange: Exchange, sent: asyncio.Event = sent) -> None:
            await exchange.stream(frame)
            await sent.wait()
            await exchange.chunk(frame * 40)
            await exchange.gone()

        async with edge(script) as proxy, proxy.caller() as caller:
            rich(proxy)
            await caller.send(request_bytes(body, *HEADERS, f"X-OM-On-Disconnect: {leaving}", path=path))
            await proxy.server.until(lambda: len(proxy.server.admit_requests) == 1)
            await caller.read_head()
            proxy.server.refusal = _SHORT
            sent.set()
            with capture_logs() as logs:
                while await caller.read_chunk():
                    pass
                event = await the_event(proxy)
        charged[leaving] = [(item.unit, item.amount) for item in event.lines[0].usage.quantities]
        assert "upstream_broken" not in [entry["event"] for entry in logs]

    assert charged["drain"] == charged["cancel"]


async def test_a_stream_whose_answer_is_compressed_is_broken_off_instead() -> None:
    path, body, frame = PROVIDERS["openai chat"]
    packed = gzip.compress(b"".join(frame.replace(b"x", b"%d" % (n % 10)) for n in range(40)))

    async def script(exchange: Exchange) -> None:
        coding = ("Content-Type: text/event-stream", "Content-Encoding: gzip", "Transfer-Encoding: chunked")
        await exchange.send(head("200 OK", *coding))
        await proxy.server.until(lambda: len(proxy.server.admit_requests) == 1)
        proxy.server.refusal = _SHORT
        await exchange.chunk(packed)
        await exchange.gone()

    async with edge(script) as proxy, proxy.caller() as caller:
        rich(proxy)
        await caller.send(asked(path, body))
        answer = await caller.read()
        event = await the_event(proxy)

    assert (answer.whole, answer.body) == (False, b"")
    assert event.outcome == event_pb2.OUTCOME_ESTIMATED


@pytest.mark.parametrize("soft", [False, True])
async def test_while_the_server_is_away_only_a_soft_wallets_stream_goes_on(*, soft: bool) -> None:
    path, body, frame = PROVIDERS["openai chat"]

    async def script(exchange: Exchange) -> None:
        proxy.server.failures["Admit"] = [AWAY] * 1_000
        await exchange.stream(*[frame] * 12, b"")

    async with edge(script) as proxy, proxy.caller() as caller:
        rich(proxy)
        proxy.server.funding_mode = edge_pb.FUNDING_MODE_SOFT if soft else edge_pb.FUNDING_MODE_STRICT
        await caller.send(asked(path, body))
        answer = await caller.read()
        event = await the_event(proxy)

    assert (answer.body == frame * 12) is soft
    assert event.unfunded is soft
    if not soft:
        assert last_event(answer.body)[b"data"]["error"]["code"] == "service_unavailable"  # type: ignore[index]


async def test_a_full_disk_ends_a_stream_that_would_have_to_be_extended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, body, frame = PROVIDERS["openai chat"]

    async def full(*_: object) -> None:
        raise JournalFull

    monkeypatch.setattr(CallBook, "extended", full)

    async def script(exchange: Exchange) -> None:
        await exchange.stream(*[frame] * 12, b"")

    async with edge(script) as proxy, proxy.caller() as caller:
        rich(proxy)
        await caller.send(asked(path, body))
        answer = await caller.read()
        await the_event(proxy)

    assert last_event(answer.body)[b"data"]["error"]["code"] == "service_unavailable"  # type: ignore[index]
    assert answer.body.count(_TEXT.encode()) * len(_TEXT) <= SLICE_TOKENS


@pytest.mark.parametrize("fresh", [True, False])
async def test_what_was_taken_and_could_not_be_written_down_goes_back(*, fresh: bool) -> None:
    """A lease would count a call that no record names, and after a crash the counts would differ."""
    bank = Bank()
    till = Till(bank)
    if not fresh:
        for _ in range(2):
            till.desk.note_demand(WALLET, 50_000)
        await till.busy()
    intent = await till.admitted()
    ask = await till.spending.admissions._ask("evt_1", KNOWN, call=CALL, who=WHO)
    parts = intent.grant.parts
    stretch = Stretch(ask, intent.grant, till.desk, most=None, lenient=True)
    seen: list[int] = []

    async def full() -> None:
        seen.append(len(intent.grant.parts))
        raise JournalFull

    left = till.drawers.left_nanos(WALLET)
    assert await stretch.cover(stretch.tokens + 1, full) == problem.unavailable()

    assert seen == [len(parts) + fresh]
    assert intent.grant.parts == parts
    assert till.drawers.left_nanos(WALLET) >= left
    till.give_back(intent, 7)
    till.clock.now = 60
    await till.sweep()
    counts = {lease_id: lease.report.final_count for lease_id, lease in bank.leases.items() if lease.report}
    assert {lease_id for lease_id, count in counts.items() if count} >= {part.lease_id for part in parts}
    assert sum(counts.values()) == (1 if fresh else 4)
    assert sum(report.keep_nanos for report in bank.reports) == 7


_WITH: dict[str, dict[str, object]] = {
    "a cap": {"max_tokens": 9_000},
    "no stream": {"stream": False},
    "two choices": {"n": 2},
    "a model that reasons": {"model": "o4-mini"},
    "a model that nobody knows": {"model": "brand-new"},
    "effort": {"model": "gpt-4o", "reasoning_effort": "low"},
    "sound": {"modalities": ["text", "audio"], "audio": {}},
    "a search": {"web_search_options": {}},
    "a prediction": {"prediction": {"type": "content", "content": "x"}},
}


@pytest.mark.parametrize("name", _WITH)
def test_everything_else_holds_the_models_maximum(name: str) -> None:
    document = {**orjson.loads(_CHAT), **_WITH[name]}

    assert sliced(call_of("/v1/chat/completions", _CHAT), ModelLimits(max_output=_MOST))
    assert not sliced(call_of("/v1/chat/completions", document), ModelLimits(max_output=_MOST))


@pytest.mark.parametrize(
    ("path", "document", "expected"),
    [
        ("/v1/responses", {"model": "gpt-4.1", "input": "Hi", "stream": True}, True),
        ("/v1/responses", {"model": "gpt-5", "input": "Hi", "stream": True}, False),
        ("/v1/responses", {"model": "gpt-4.1", "input": "Hi", "stream": True, "background": True}, False),
        ("/v1/responses", {"model": "gpt-4.1", "input": "Hi", "stream": True, "reasoning": {}}, False),
        ("/v1/messages", {"model": "claude-sonnet-4-5", "stream": True, "messages": []}, True),
        ("/v1/messages", {"model": "claude-new", "stream": True, "messages": []}, False),
        (
            "/v1/messages",
            {"model": "claude-sonnet-4-5", "stream": True, "messages": [], "thinking": {"type": "adaptive"}},
            False,
        ),
        ("/v1beta/models/gemini-2.0-flash:streamGenerateContent", {"contents": []}, True),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent", {"contents": []}, False),
        (
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            {"contents": [], "generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}},
            True,
        ),
        (
            "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
            {"contents": [], "generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}},
            False,
        ),
        (
            "/v1beta/models/gemini-2.0-flash:streamGenerateContent",
            {"contents": [], "tools": [{"functionDeclarations": []}]},
            False,
        ),
    ],
)
def test_only_models_that_show_all_they_write_begin_on_a_slice(
    path: str, document: object, *, expected: bool
) -> None:
    assert sliced(call_of(path, document), ModelLimits(max_output=_MOST)) is expected


def test_a_model_whose_maximum_is_no_more_than_a_slice_holds_it() -> None:
    assert not sliced(call_of("/v1/chat/completions", _CHAT), ModelLimits(max_output=SLICE_TOKENS))
